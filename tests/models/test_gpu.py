"""On a CUDA device: kernels against padding, compiled against eager, transfers, packed steps.

In bf16, whose rounding is 2^-8 of a value. Each claim has a reference in fp32, and allows as much
as `ATTENTION`, `LOSS` and `GRADIENT` say; the same in bf16 over padding is held to it too. What
does not need the device itself is claimed of the CPU as well.
"""

import pytest
import torch

from nsmt.data.packing import Room
from nsmt.models import packed_attention
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.masks import DirectionMasks

GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]
CPU_AND_GPU = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
ON_GPU = pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU)])
# Of the largest value.
ATTENTION = 0.03
# Relative: of the loss of a batch, and of the norm of each weight's gradient.
LOSS, GRADIENT = 0.01, 0.1
SHAPE = {"d_model": 128, "d_ff": 256, "heads": 2, "dropout": 0.0, "max_positions": 64}


@pytest.fixture
def make(make_sentences, sequences, directions, device):
    """A batch of some sentences, packed with padding that has no source to look at, or padded."""

    def batch(*, packed, seed=0):
        rows, sources, targets = zip(*make_sentences(40, seed, 20), strict=True)
        named = [directions[row] for row in rows]
        if packed:
            room = Room(900, 1500, 32)
            made = sequences.pack(sources, targets, named, rows=rows, room=room)
        else:
            made = sequences.collate(sources, targets, named, rows=rows)
        return made.to(device)

    return batch


@pytest.fixture
def model_and_masks(make_model, make_atlas, directions, device):
    def made(**changes):
        model = make_model(**(SHAPE | changes)).to(device).train()
        masks = DirectionMasks(make_atlas(model), directions, sites=model.sites).to(device)
        return model, masks

    return made


def attended(kernel, inputs, spans, *, causal, dropout=0.0, dtype=torch.bfloat16):
    """What a kernel makes of query, key and value, and their gradients, all in fp32."""
    query, key, value = (each.detach().to(dtype).requires_grad_() for each in inputs)
    found = kernel(
        query, key, value, query_spans=spans[0], key_spans=spans[1], causal=causal, dropout=dropout
    )
    # The same from above for all.
    weights = torch.linspace(-1, 1, found.numel(), device=found.device).view_as(found)
    (found.float() * weights).sum().backward()
    return [found.detach().float(), *(each.grad.float() for each in (query, key, value))]


def step(model, masks, batch, *, reduced):
    """The loss of a batch and the gradients of a training step."""
    model.zero_grad()
    with torch.autocast(batch.source_BS.device.type, dtype=torch.bfloat16, enabled=reduced):
        hidden = batch.counted(model(batch, masks(batch)))
        loss, _ = smoothed_cross_entropy(
            hidden, model.output.weight, batch.counted(batch.target_out_BT), smoothing=0.1
        )
        loss = loss / batch.update_tokens
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


def assert_close(found, expected):
    """Losses and gradients of two ways to take a step."""
    assert found[0] == pytest.approx(expected[0], rel=LOSS)
    whole = torch.stack([each.norm() for each in expected[1].values()]).norm()
    for name, gradient in expected[1].items():
        # Those of the keys' biases are nothing but rounding: a softmax does not change with them.
        allowed = GRADIENT * gradient.norm() + 0.01 * whole
        assert (found[1][name] - gradient).norm() < allowed, name


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("device", "kernel"),
    [
        ("cpu", "_attend_padded"),
        pytest.param("cuda", "_attend_padded", marks=GPU),
        pytest.param("cuda", "_attend_varlen", marks=GPU),
        pytest.param("cuda", "_attend_flash", marks=GPU),
    ],
)
def test_a_kernel_attends_as_padding_does_in_fp32_spans_without_keys_included(
    make, device, kernel, causal
):
    batch = make(packed=True)
    own, other = batch.target_spans, batch.source_spans
    spans = (own, own) if causal else (own, other)
    assert causal or (other.start_C1.diff() == 0).any()
    sizes = [len(each.sentence_Q) for each in (spans[0], spans[1], spans[1])]
    inputs = [torch.randn(size, 2, 64, device=device) for size in sizes]
    expected = attended(
        packed_attention._attend_padded, inputs, spans, causal=causal, dtype=torch.float32
    )
    found = attended(getattr(packed_attention, kernel), inputs, spans, causal=causal)
    for one, two in zip(found, expected, strict=True):
        assert one.isfinite().all()
        assert (one - two).abs().max() < ATTENTION * two.abs().max()


@pytest.mark.parametrize(
    ("device", "kernel"),
    [("cpu", "_attend_padded"), pytest.param("cuda", "_attend_flash", marks=GPU)],
)
def test_a_kernel_drops_probabilities_and_keeps_their_mean(make, device, kernel):
    spans = (make(packed=True).target_spans,) * 2
    inputs = [torch.randn(len(spans[0].sentence_Q), 2, 64, device=device) for _ in range(2)]
    inputs.append(torch.ones_like(inputs[0]))
    whole, kept = (
        attended(getattr(packed_attention, kernel), inputs, spans, causal=True, dropout=p)
        for p in (0.0, 0.3)
    )
    # The probabilities of a query add up to 1, and with dropout on the average.
    assert (whole[0] - 1).abs().max() < ATTENTION
    assert kept[0].std() > 0.1
    assert kept[0].mean().item() == pytest.approx(1, abs=0.05)
    assert all(each.isfinite().all() for each in kept)


@ON_GPU
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_packed_batches_are_attended_with_in_a_kernel(make, model_and_masks, monkeypatch, dropout):
    monkeypatch.setattr(packed_attention, "_attend_padded", None)
    model, masks = model_and_masks(attention_dropout=dropout)
    loss, _ = step(model, masks, make(packed=True), reduced=True)
    assert loss > 0


@CPU_AND_GPU
def test_compiled_layers_equal_eager_ones_in_bf16(make, model_and_masks, device):
    torch.compiler.reset()
    eager, masks = model_and_masks()
    compiled, _ = model_and_masks()
    compiled.compile_layers(backend="inductor" if device == "cuda" else "aot_eager")
    for seed in range(3):
        batch = make(packed=True, seed=seed)
        expected = step(eager, masks, batch, reduced=False)
        assert_close(step(eager, masks, batch, reduced=True), expected)
        assert_close(step(compiled, masks, batch, reduced=True), expected)


@CPU_AND_GPU
def test_a_packed_step_in_bf16_has_the_loss_and_gradients_of_a_padded_one(make, model_and_masks):
    model, masks = model_and_masks()
    expected = step(model, masks, make(packed=False), reduced=False)
    for packed in (False, True):
        assert_close(step(model, masks, make(packed=packed), reduced=True), expected)


@ON_GPU
def test_pinned_batches_arrive_whole_while_the_device_computes(make_sentences, make_batch, device):
    there = make_batch(make_sentences(40, 0, 20))
    pinned = there.pin_memory()
    assert pinned.flat.is_pinned()
    busy = torch.randn(4096, 4096, device=device)
    for _ in range(20):
        busy = torch.tanh(busy @ busy)
    moved = pinned.to(device, non_blocking=True)
    for name in ("source_BS", "target_in_BT", "target_out_BT", "counted_N", "direction_C"):
        assert torch.equal(getattr(moved, name).cpu(), getattr(there, name))
