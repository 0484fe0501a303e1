import pytest
import torch
from torch import nn

from nsmt.models import linear as module
from nsmt.models.linear import Linear, linear, packed_weights


@pytest.fixture(autouse=True, params=[True, False], ids=["reordering", "plain"])
def _pays(request, monkeypatch):
    """Whichever this processor is better at, both must compute the same."""
    monkeypatch.setattr(module, "_pays", lambda: request.param)


@pytest.fixture
def layers():
    torch.manual_seed(0)
    made = nn.Sequential(Linear(24, 40), nn.ReLU(), Linear(40, 24), Linear(24, 40, bias=False))
    made[3].weight = made[0].weight
    return made


@pytest.mark.parametrize("shape", [(24,), (1, 24), (7, 24), (2, 5, 24), (160, 24)])
@torch.inference_mode()
def test_the_product_is_that_of_the_layers(layers, shape):
    x = torch.randn(shape)
    expected = layers(x)
    with packed_weights(layers):
        found = layers(x)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


@torch.inference_mode()
def test_a_strided_input_will_do(layers):
    x = torch.randn(5, 24, 3).transpose(1, 2)
    with packed_weights(layers):
        assert torch.allclose(layers(x), layers(x.contiguous()), atol=1e-5)


@pytest.mark.skipif(not module._works(), reason="this torch lacks oneDNN's operators")
def test_tied_weights_are_packed_once_and_layers_are_put_back(layers, monkeypatch):
    packed = []
    pack = module._reorder
    monkeypatch.setattr(module, "_reorder", lambda weight: packed.append(weight) or pack(weight))
    with pytest.raises(RuntimeError, match="primitive"), packed_weights(layers):
        layers(torch.randn(3, 23))
    assert len(packed) == 2
    assert all("forward" not in vars(layer) for layer in layers)
    # Weights that change between two blocks are packed anew.
    with torch.inference_mode():
        layers[0].weight.mul_(2)
        x = torch.randn(3, 24)
        expected = layers(x)
        with packed_weights(layers):
            assert torch.allclose(layers(x), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@torch.inference_mode()
def test_other_types_are_left_as_they_are(layers, dtype):
    layers.to(dtype)
    x = torch.randn(3, 24, dtype=dtype)
    with packed_weights(layers):
        assert not any("forward" in vars(layer) for layer in layers)
        layers(x)


@torch.inference_mode()
def test_a_torch_without_the_operators_multiplies_as_ever(layers, monkeypatch):
    monkeypatch.setattr(module, "_works", lambda: False)
    x = torch.randn(3, 24)
    expected = layers(x)
    with packed_weights(layers):
        assert torch.equal(layers(x), expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(255,), (256,), (3, 100), (300,)])
def test_product_and_gradients_are_those_of_torch(shape, bias):
    torch.manual_seed(0)
    x = torch.randn(*shape, 24, requires_grad=True)
    weight = torch.randn(40, 24, requires_grad=True)
    added = torch.randn(40, requires_grad=True) if bias else None
    inputs = [each for each in (x, weight, added) if each is not None]
    upstream = torch.randn(*shape, 40)
    expected = nn.functional.linear(x, weight, added)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    found = linear(x, weight, added)
    assert torch.allclose(found, expected, atol=1e-4)
    for one, other in zip(torch.autograd.grad(found, inputs, upstream), wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_an_expanded_gradient_and_a_frozen_weight_will_do():
    x = torch.randn(300, 24, requires_grad=True)
    weight = torch.randn(40, 24)
    linear(x, weight).sum().backward()
    assert torch.allclose(x.grad, weight.sum(0).expand(300, -1), atol=1e-4)
    frozen = torch.randn(300, 24)
    free = torch.randn(40, 24, requires_grad=True)
    linear(frozen, free).sum().backward()
    assert torch.allclose(free.grad, frozen.sum(0).expand(40, -1), atol=1e-3)


def test_weights_may_change_from_one_product_to_the_next():
    """Nothing is kept: a change that torch does not see, as through .data, is seen too."""
    x, layer = torch.randn(300, 24), Linear(24, 40)
    layer(x)
    layer.weight.data.mul_(3)
    assert torch.allclose(layer(x), nn.functional.linear(x, layer.weight, layer.bias), atol=1e-4)


def test_under_autocast_products_are_in_bf16():
    x, layer = torch.randn(300, 24), Linear(24, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.parametrize("makers", ["vendor_id : GenuineIntel\n", "vendor_id : AuthenticAMD\n"])
def test_what_pays_depends_on_the_maker_alone(makers, monkeypatch):
    monkeypatch.undo()
    module._pays.cache_clear()
    monkeypatch.setattr(module.Path, "read_text", lambda _: makers)
    expected = "Intel" not in makers or not torch.backends.mkl.is_available()
    assert module._pays() == expected
    module._pays.cache_clear()
