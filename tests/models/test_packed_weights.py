import pytest
import torch
from torch import nn

from nsmt.models import packed_weights as module
from nsmt.models.packed_weights import packed_weights


@pytest.fixture
def layers():
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Linear(24, 40), nn.ReLU(), nn.Linear(40, 24), nn.Linear(24, 40, bias=False)
    )
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
    pack = module._pack
    monkeypatch.setattr(module, "_pack", lambda weight: packed.append(weight) or pack(weight))
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
