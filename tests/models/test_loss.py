import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nsmt.errors import ConfigurationError
from nsmt.models import loss as loss_module
from nsmt.models.loss import smoothed_cross_entropy, token_nll

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"
)


def inputs_like(tokens, width, size, seed=0):
    torch.manual_seed(seed)
    hidden = torch.randn(tokens, width, requires_grad=True)
    weight = torch.randn(size, width, requires_grad=True)
    return hidden, weight, torch.randint(size, (tokens,))


def plain(hidden, weight, target, smoothing):
    """The definition in float64: (1 - e - e_i) nll + e_i sum(-log p) with e_i = e / (V - 1)."""
    log_p = (hidden.double() @ weight.double().T).log_softmax(-1)
    nll = -log_p[torch.arange(len(target)), target]
    spread = smoothing / (len(weight) - 1)
    return ((1 - smoothing - spread) * nll + spread * -log_p.sum(-1)).sum(), nll


def close(found, expected, tolerance=1e-5):
    scale = max(1.0, expected.abs().max().item()) if expected.numel() else 1.0
    return torch.allclose(found.double(), expected.double(), atol=tolerance * scale, rtol=0)


def assert_equals_the_definition(hidden, weight, target, smoothing, kind="chunked"):
    loss, nll = smoothed_cross_entropy(hidden, weight, target, smoothing=smoothing, kind=kind)
    expected, expected_nll = plain(hidden, weight, target, smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    assert nll.item() == pytest.approx(expected_nll.sum().item(), rel=1e-5, abs=1e-5)
    assert close(token_nll(hidden, weight, target), expected_nll)
    found = torch.autograd.grad(3 * loss, (hidden, weight))
    for one, other in zip(found, torch.autograd.grad(3 * expected, (hidden, weight)), strict=True):
        assert close(one, other)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 8),
    st.integers(2, 40),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(0, 2**31),
)
def test_loss_and_gradients_equal_the_log_softmax_form(tokens, width, size, smoothing, seed):
    assert_equals_the_definition(*inputs_like(tokens, width, size, seed), smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("offset", [-1, 0, 1, 513])
def test_the_chunk_is_not_noticed(offset, smoothing):
    tokens = loss_module._CHUNK["cpu"] + offset
    assert_equals_the_definition(*inputs_like(tokens, 7, 33), smoothing)


def test_a_frozen_output_changes_no_gradient_of_the_model():
    hidden, weight, target = inputs_like(30, 5, 11)
    gradients = []
    for frozen in (False, True):
        loss, _ = smoothed_cross_entropy(
            hidden, weight.detach() if frozen else weight, target, smoothing=0.1
        )
        gradients.append(torch.autograd.grad(loss, hidden)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("chunk", [1, 3, 10, 64])
def test_results_do_not_depend_on_the_size_of_chunks(monkeypatch, chunk):
    monkeypatch.setitem(loss_module._CHUNK, "cpu", chunk)
    assert_equals_the_definition(*inputs_like(10, 5, 11), 0.1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("tokens", [1, 30, 600])
def test_torchs_own_fused_loss_serves_as_well(tokens, smoothing):
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip("this torch has no linear_cross_entropy")
    assert_equals_the_definition(*inputs_like(tokens, 8, 40), smoothing, kind="torch")


_LIGER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_loss import assert_equals_the_definition, inputs_like
for tokens in (1, 30, 70):
    for smoothing in (0.0, 0.1):
        assert_equals_the_definition(*inputs_like(tokens, 8, 40), smoothing, kind="liger")
"""


def test_liger_serves_as_well():
    """Without a GPU, Triton interprets its kernels, in a process told so before it starts."""
    if importlib.util.find_spec("liger_kernel") is None:
        pytest.skip("Liger-Kernel is not installed")
    here = str(Path(__file__).parent)
    interpreted = {} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}
    subprocess.run(
        [sys.executable, "-c", _LIGER, here], check=True, env={**os.environ, **interpreted}
    )


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", None)
    with pytest.raises(ConfigurationError, match="Liger-Kernel, which is not installed"):
        smoothed_cross_entropy(*inputs_like(3, 4, 5), smoothing=0.1, kind="liger")


@needs_compiler
@pytest.mark.parametrize("tokens", [1, 40])
def test_what_a_gpu_compiles_equals_what_a_cpu_does_in_place(tokens):
    hidden, weight, target = (each.detach() for each in inputs_like(tokens, 6, 23))
    arguments = (hidden @ weight.T, target, 0.88, 0.005)
    expected = loss_module._of_logits(*arguments)
    for found in (loss_module._of_logits_fusible(*arguments), loss_module._compiled()(*arguments)):
        for one, other in zip(found, expected, strict=True):
            assert close(one, other)


@needs_compiler
@pytest.mark.parametrize("asked", [False, True])
def test_the_loss_is_compiled_where_that_is_asked_for_and_nowhere_else(monkeypatch, asked):
    used = []
    real = loss_module._compiled
    monkeypatch.setattr(loss_module, "_compiled", lambda: used.append(1) or real())
    losses, gradients = [], []
    for compiled in (False, asked):
        hidden, weight, target = inputs_like(40, 6, 23)
        loss, _ = smoothed_cross_entropy(hidden, weight, target, smoothing=0.1, compiled=compiled)
        losses.append(loss)
        gradients.append(torch.autograd.grad(loss, (hidden, weight)))
    assert bool(used) == asked
    assert close(*losses)
    assert all(close(one, other) for one, other in zip(*gradients, strict=True))


@needs_compiler
def test_chunks_of_many_sizes_are_compiled_once():
    torch._dynamo.reset()
    compiled = loss_module._compiled()
    for tokens in (40, 41, 57, 64):
        with torch._dynamo.config.patch(error_on_recompile=tokens > 40):
            compiled(torch.randn(tokens, 23), torch.randint(23, (tokens,)), 0.88, 0.005)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_it_is_torchs_label_smoothing_with_the_share_of_the_right_token_taken_out(smoothing):
    hidden, weight, target = inputs_like(30, 6, 17)
    found, _ = smoothed_cross_entropy(hidden, weight, target, smoothing=smoothing)
    expected = F.cross_entropy(
        hidden @ weight.T, target, label_smoothing=smoothing * 17 / 16, reduction="sum"
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_without_smoothing_the_loss_is_the_sum_of_nll():
    loss, nll = smoothed_cross_entropy(*inputs_like(9, 4, 12), smoothing=0.0)
    assert loss.item() == pytest.approx(nll.item(), rel=1e-6)
    assert loss.requires_grad
    assert not nll.requires_grad


def test_large_logits_stay_finite():
    hidden, weight, target = inputs_like(5, 4, 9)
    loss, nll = smoothed_cross_entropy(300 * hidden, weight, target, smoothing=0.1)
    loss.backward()
    assert loss.isfinite()
    assert nll.isfinite()
    assert hidden.grad.isfinite().all()


def test_only_what_needs_a_gradient_gets_one():
    hidden, weight, target = inputs_like(5, 4, 9)
    loss, _ = smoothed_cross_entropy(hidden.detach(), weight, target, smoothing=0.1)
    loss.backward()
    assert weight.grad is not None
    assert hidden.grad is None


def test_no_tokens_cost_nothing():
    hidden, weight, target = inputs_like(0, 4, 9)
    loss, nll = smoothed_cross_entropy(hidden, weight, target, smoothing=0.1)
    loss.backward()
    assert loss.item() == nll.item() == 0
    assert token_nll(hidden, weight, target).shape == (0,)
    assert hidden.grad.shape == (0, 4)
    assert not weight.grad.any()


@pytest.mark.parametrize("kind", ["chunked", "torch"])
def test_it_runs_under_autocast(kind):
    hidden, weight, target = inputs_like(40, 8, 19)
    expected, _ = plain(hidden, weight, target, 0.1)
    expected_grads = torch.autograd.grad(expected, (hidden, weight))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, nll = smoothed_cross_entropy(hidden, weight, target, smoothing=0.1, kind=kind)
    assert loss.dtype == nll.dtype == torch.float32
    found = torch.autograd.grad(loss, (hidden, weight))
    for one, other in zip(found, expected_grads, strict=True):
        assert one.dtype == torch.float32
        assert close(one, other, tolerance=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("kind", "shift"), [("chunked", 0.0), ("torch", 0.0), ("torch", 9.4)])
def test_the_loss_under_autocast_is_summed_in_fp32(kind, shift, smoothing):
    hidden, weight, _ = inputs_like(6000, 8, 200)
    target = (hidden @ weight.T).argmax(-1)
    # With means that are not 0, both terms of the smoothing are large.
    hidden, weight = hidden + shift / 3, weight + shift
    expected, expected_nll = plain(hidden.bfloat16(), weight.bfloat16(), target, smoothing)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, nll = smoothed_cross_entropy(hidden, weight, target, smoothing=smoothing, kind=kind)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    assert nll.item() == pytest.approx(expected_nll.sum().item(), rel=1e-3)


def test_a_whole_model_trains_under_autocast(make_model, make_sentences, make_batch):
    model, batch = make_model(), make_batch(make_sentences(6))
    real = batch.target_real_BT

    def gradient():
        model.zero_grad()
        hidden = model(batch)
        loss, _ = smoothed_cross_entropy(
            hidden[real], model.output.weight, batch.target_out_BT[real], smoothing=0.1
        )
        loss.backward()
        return torch.cat([each.grad.flatten() for each in model.parameters()])

    expected = gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradient()
    assert F.cosine_similarity(found, expected, dim=0) > 0.999


def test_a_model_held_in_bfloat16_trains():
    hidden, weight, target = inputs_like(40, 8, 19)
    expected, _ = plain(hidden, weight, target, 0.1)
    low = [each.detach().bfloat16().requires_grad_() for each in (hidden, weight)]
    loss, _ = smoothed_cross_entropy(*low, target, smoothing=0.1)
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=0.02)
    assert low[0].grad.dtype == low[1].grad.dtype == torch.bfloat16
