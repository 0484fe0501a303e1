import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.models.feed_forward import FeedForward, _chosen
from nsmt.neurons.atlas import pack_bits

shapes = st.fixed_dictionaries(
    {
        "sentences": st.integers(1, 5),
        "positions": st.integers(1, 4),
        "d_model": st.integers(1, 9),
        "d_ff": st.integers(1, 12),
        "seed": st.integers(0, 2**31),
        "share": st.sampled_from([0.0, 0.3, 0.5, 0.95, 1.0]),
    }
)


def layer_like(d_model, d_ff, *, dtype=torch.float32, mask_bias=False):
    layer = FeedForward(d_model, d_ff, mask_bias=mask_bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter) / max(d_model, d_ff) ** 0.5)
    return layer.to(dtype)


def masked_weight_form(x_BSD, mask_BF, weights, *, mask_bias):
    """relu((m * W1) x + b1) W2 + b2, one sentence at a time with a masked copy of the weight."""
    w1, b1, w2, b2 = weights
    outputs = []
    for x_SD, mask_F in zip(x_BSD, mask_BF, strict=True):
        kept = mask_F.to(w1.dtype)
        bias = b1 * kept if mask_bias else b1
        hidden = torch.relu(x_SD @ (kept[:, None] * w1).T + bias)
        outputs.append(hidden @ w2.T + b2)
    return torch.stack(outputs)


@pytest.mark.parametrize("mask_bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=150, deadline=None)
@given(shape=shapes)
def test_masked_forward_and_all_gradients_equal_the_masked_weight_form(dtype, mask_bias, shape):
    torch.manual_seed(shape["seed"])
    layer = layer_like(shape["d_model"], shape["d_ff"], dtype=dtype, mask_bias=mask_bias)
    x = torch.randn(shape["sentences"], shape["positions"], shape["d_model"], dtype=dtype)
    mask = torch.rand(shape["sentences"], shape["d_ff"]) < shape["share"]
    upstream = torch.randn_like(x)
    weights = (layer.fc1.weight, layer.fc1.bias, layer.fc2.weight, layer.fc2.bias)

    def run(function):
        own = x.clone().requires_grad_()
        output = function(own)
        # A mean over the tokens, so that the rounding of long sums stays far below 1e-6.
        loss = (output * upstream).sum() / (shape["sentences"] * shape["positions"])
        return output, *torch.autograd.grad(loss, (own, *weights))

    found = run(lambda own: layer(own, pack_bits(mask[:, None])))
    expected = run(lambda own: masked_weight_form(own, mask, weights, mask_bias=mask_bias))
    for name, one, other in zip(
        ("output", "x", "W1", "b1", "W2", "b2"), found, expected, strict=True
    ):
        tolerance = 1e-6 if dtype == torch.float32 else 1e-13
        # Sums in another order differ in the last bits of the largest value.
        scale = max(1.0, other.abs().max().item())
        assert (one - other).abs().max() <= tolerance * scale, name


def test_masked_neuron_outputs_relu_of_bias():
    layer = layer_like(6, 8)
    seen = []
    layer.fc2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mask = torch.arange(8) % 2 == 0
    layer(torch.randn(3, 5, 6), pack_bits(mask).expand(3, 1, 1))
    silent = torch.relu(layer.fc1.bias[~mask]).expand(3, 5, 4)
    assert torch.equal(seen[0][..., ~mask], silent)
    assert silent.any()


def test_masked_neuron_outputs_zero_with_mask_bias():
    layer = layer_like(6, 8, mask_bias=True)
    seen = []
    layer.fc2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mask = torch.arange(8) % 2 == 0
    layer(torch.randn(3, 5, 6), pack_bits(mask).expand(3, 1, 1))
    assert not seen[0][..., ~mask].any()


def test_rows_that_no_sentence_owns_get_no_gradient_but_their_bias_does():
    layer = layer_like(6, 8)
    with torch.no_grad():
        layer.fc1.bias.fill_(1.0)
    mask = torch.zeros(2, 1, 8, dtype=torch.bool)
    mask[0, 0, 1] = mask[1, 0, 2] = True
    layer(torch.randn(2, 3, 6), pack_bits(mask)).square().sum().backward()
    owned = layer.fc1.weight.grad.abs().sum(1) > 0
    assert owned.nonzero()[:, 0].tolist() == [1, 2]
    assert (layer.fc1.bias.grad[3:] != 0).all()


@pytest.mark.parametrize("mask_bias", [False, True])
def test_a_mask_of_all_neurons_equals_no_mask(mask_bias):
    layer = layer_like(6, 8, mask_bias=mask_bias)
    x = torch.randn(3, 5, 6)
    assert torch.equal(layer(x, pack_bits(torch.ones(3, 1, 8, dtype=torch.bool))), layer(x))


def test_each_sentence_of_a_batch_has_its_own_mask():
    layer = layer_like(6, 8)
    x, mask = torch.randn(4, 5, 6), torch.rand(4, 1, 8) < 0.5
    together = layer(x, pack_bits(mask))
    for row in range(4):
        alone = layer(x[row : row + 1], pack_bits(mask[row : row + 1]))[0]
        assert torch.allclose(together[row], alone, atol=1e-6)


def test_a_masked_layer_runs_under_autocast():
    layer = layer_like(6, 8)
    x, mask = torch.randn(2, 3, 6), torch.rand(2, 1, 8) < 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x, pack_bits(mask))
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), layer(x, pack_bits(mask)), atol=0.05)


@settings(max_examples=100, deadline=None)
@given(shape=shapes)
def test_masks_of_updates_change_the_gradient_of_the_first_weight_alone(shape):
    torch.manual_seed(shape["seed"])
    layer = layer_like(shape["d_model"], shape["d_ff"], dtype=torch.float64)
    x = torch.randn(shape["sentences"], shape["positions"], shape["d_model"]).double()
    mask = torch.rand(shape["sentences"], shape["d_ff"]) < shape["share"]
    upstream = torch.randn_like(x)
    weights = list(layer.parameters())

    def run(sentences, packed=None):
        own = x[sentences].clone().requires_grad_()
        output = layer(own, packed)
        return output, *torch.autograd.grad((output * upstream[sentences]).sum(), (own, *weights))

    layer.update_only = True
    everything = slice(None)
    output, x_grad, first_grad, *others = run(everything, pack_bits(mask[:, None]))
    dense, dense_x_grad, _, *dense_others = run(everything)
    torch.testing.assert_close(output, dense)
    torch.testing.assert_close(x_grad, dense_x_grad)
    torch.testing.assert_close(others, dense_others)
    # A sentence at a time: its gradient, where it owns the row.
    expected = sum(
        mask[place][:, None] * run(slice(place, place + 1))[2] for place in range(len(x))
    )
    torch.testing.assert_close(first_grad, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masking_by_arithmetic_is_a_choice_to_the_bit(dtype):
    torch.manual_seed(0)
    mask, own = torch.rand(5, 1, 37) < 0.5, (1e3 * torch.randn(5, 9, 37)).to(dtype)
    for other in (torch.randn(37).to(dtype), torch.zeros((), dtype=dtype)):
        assert torch.equal(_chosen(mask, own, other), torch.where(mask, own, other))
    own[0, 0] = torch.inf
    assert not _chosen(mask, own, other)[0, 0].isfinite().all()
