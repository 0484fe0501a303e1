import pytest
import torch

from nsmt.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_share_dropped_is_p_and_the_rest_is_scaled_up(p, dtype):
    torch.manual_seed(0)
    found = Dropout(p)(torch.ones(1000, 1001, dtype=dtype))
    dropped = (found == 0).double().mean().item()
    # Ten standard deviations of a million draws.
    assert dropped == pytest.approx(p, abs=10 * (p * (1 - p) / 1_001_000) ** 0.5)
    kept = torch.tensor(1 / (1 - p)).to(dtype)
    assert torch.allclose(found[found != 0], kept, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4)
    assert found.dtype == dtype


def test_elements_are_dropped_independently():
    """Four elements share a word of random bits: no two of the four may go together."""
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(250_000, 4)) != 0).double()
    assert torch.corrcoef(kept.T).fill_diagonal_(0).abs().max() < 0.01
    shifted = torch.stack((kept[:-1, 3], kept[1:, 0]))
    assert torch.corrcoef(shifted)[0, 1].abs() < 0.01


def test_gradients_pass_where_elements_were_kept():
    x = torch.randn(37, 5, requires_grad=True)
    found = Dropout(0.4)(x)
    found.backward(torch.full_like(found, 3.0))
    assert torch.allclose(x.grad, torch.where(found == 0, 0.0, 3 * found / x))


def test_a_seed_fixes_what_is_dropped():
    layer, x = Dropout(0.2), torch.randn(8, 9)
    torch.manual_seed(5)
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(0, 3), (1,), (3, 1, 2)])
def test_any_shape_will_do(shape):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_nothing_is_dropped_in_evaluation_or_without_probability():
    x = torch.randn(4, 4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
