"""Ways to compute the same thing: compiled layers, recomputed activations."""

import shutil
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from nsmt.data.packing import Room
from nsmt.models import packed_attention
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.masks import DirectionMasks


def gradients(model, batch, masks):
    model.zero_grad()
    hidden = batch.counted(model(batch, masks(batch)))
    target = batch.counted(batch.target_out_BT)
    loss, _ = smoothed_cross_entropy(hidden, model.output.weight, target, smoothing=0.1)
    loss.backward()
    return loss.item(), [parameter.grad.clone() for parameter in model.parameters()]


@pytest.fixture
def masks(make_model, make_atlas, directions):
    model = make_model()
    return DirectionMasks(make_atlas(model), directions, sites=model.sites)


@pytest.mark.parametrize("packed", [False, True])
def test_recomputed_layers_give_the_same_gradients_dropout_included(
    make_model, make_sentences, make_batch, make_packed, masks, packed
):
    model = make_model(dropout=0.3).train()
    batch = (make_packed if packed else make_batch)(make_sentences(6))
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        torch.manual_seed(0)
        found.append(gradients(model, batch, masks))
    assert found[0][0] == found[1][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_equal_eager_ones_and_are_compiled_once_for_all_packed_batches(
    make_model, make_sentences, make_packed, masks
):
    eager, compiled = make_model(dropout=0.0).train(), make_model(dropout=0.0).train()
    compiled.compile_layers()
    assert list(compiled.state_dict()) == list(eager.state_dict())
    room = 200
    for step in range(8):
        sentences = make_sentences(12, seed=step)
        used = sum(len(source) + 2 for _, source, _ in sentences)
        batch = make_packed(sentences, room - used)
        loss, expected = gradients(eager, batch, masks)
        found, other = gradients(compiled, batch, masks)
        assert found == pytest.approx(loss, rel=1e-5)
        for one, two in zip(expected, other, strict=True):
            assert torch.allclose(one, two, atol=1e-4)
        if step == 2:
            graphs = counters["stats"]["unique_graphs"]
            assert graphs > 0
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.parametrize(
    ("dropout", "public", "kernel"),
    [
        (0.0, True, "_attend_varlen"),
        (0.1, True, "_attend_flash"),
        # As in torch 2.9.
        (0.0, False, "_attend_flash"),
    ],
)
def test_layers_compile_whole_around_the_kernels_for_packed_attention(
    make_model,
    make_sentences,
    make_packed,
    make_atlas,
    directions,
    monkeypatch,
    dropout,
    public,
    kernel,
):
    # Without a GPU, shapes alone can be followed through the kernels, forwards and backwards.
    for other in {"_attend_padded", "_attend_varlen", "_attend_flash"} - {kernel}:
        monkeypatch.setattr(packed_attention, other, None)
    monkeypatch.setattr(packed_attention, "kernel_serves", lambda *_, **__: True)
    if not public:
        monkeypatch.setattr(packed_attention, "_VARLEN", None)
    batch = make_packed(make_sentences(6), 5).to("meta")
    model = make_model(attention_dropout=dropout).to("meta", torch.bfloat16).train()
    masks = DirectionMasks(make_atlas(model), directions, sites=model.sites).to("meta")
    model.compile_layers(backend="aot_eager")
    hidden = model(batch, masks(batch))
    assert hidden.shape == (*batch.target_in_BT.shape, model.settings.d_model)
    hidden.sum().backward()
    layers = (*model.encoder.parameters(), *model.decoder.parameters())
    assert all(parameter.grad.shape == parameter.shape for parameter in layers)


def test_masks_are_kept_for_the_backward_pass_as_bits(
    make_model, make_sentences, make_packed, masks
):
    model, batch = make_model(dropout=0.0).train(), make_packed(make_sentences(9))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        model(batch, masks(batch))
    bits = [each for each in kept if each.dtype == torch.uint8]
    assert len(bits) == len(model.sites)
    assert not [each for each in kept if each.dtype == torch.bool and each.numel() > 1000]


def test_many_shapes_and_models_are_compiled_without_an_error(
    make_model, make_sentences, make_batch
):
    torch.compiler.reset()
    batch = make_batch(make_sentences(6))
    # Padded batches of a run, and the models of its stages, count together.
    for width in range(8, 52, 4):
        model = make_model(d_model=width)
        model.compile_layers(backend="eager")
        assert model(batch).isfinite().all()
    # Under DDP, layers stay whole programs.
    assert torch._dynamo.config.optimize_ddp is False


def test_how_many_rows_there_are_is_no_condition_of_compiled_layers(
    make_model, make_sentences, make_batch
):
    torch.compiler.reset()
    model = make_model(dropout=0.0)
    model.compile_layers(backend="eager")
    counted = []
    # The first shapes make all sizes dynamic; the last has the rows from which a CPU reorders.
    for count, longest in ((8, 8), (5, 5), (9, 3), (7, 4), (60, 7)):
        model(make_batch(make_sentences(count, longest=longest)))
        counted.append(counters["stats"]["unique_graphs"])
    assert counted[-1] == counted[-2] > 0


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_batches_of_a_run_compile_each_kind_of_layer_once(
    make_model, make_sentences, sequences, directions, masks, packed, dropout
):
    torch.compiler.reset()
    model = make_model(attention_dropout=dropout).train()
    model.compile_layers(backend="eager")
    before = counters["stats"]["unique_graphs"]
    collate = partial(sequences.pack, room=Room(600, 620, 32)) if packed else sequences.collate
    for step, (count, longest) in enumerate([(20, 7), (30, 9), (9, 18), (60, 4), (41, 9)]):
        rows, sources, targets = zip(
            *make_sentences(count, seed=step, longest=longest), strict=True
        )
        batch = collate(sources, targets, [directions[row] for row in rows], rows=rows)
        # Moved, tensors are parts of one, as on a GPU.
        batch = batch.to("cpu")
        model(batch, masks(batch)).sum().backward()
        assert counters["stats"]["unique_graphs"] == before + 2
