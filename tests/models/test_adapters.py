"""Claims about adapters: whose they are, what they compute, what they leave alone."""

import itertools
import shutil
from dataclasses import replace

import pytest
import torch
from adapters_by_hand import slow_forward
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from nsmt.data.settings import VocabularySettings
from nsmt.data.vocabulary import Vocabulary
from nsmt.errors import AdapterError, CheckpointError
from nsmt.evaluation.translation import translate
from nsmt.languages import Direction
from nsmt.models import adapters as module
from nsmt.models.adapters import (
    Adapters,
    AdapterSettings,
    Blocks,
    LayerAdapters,
    Turns,
    with_adapters,
)
from nsmt.models.checkpoint import TrainedModel, load_checkpoint, save_checkpoint
from nsmt.models.decoding import DecodingSettings, search
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer

EOS = 2
BOTTLENECK = 5
# What the groups of en-de, de-en and en-fr are, as pairs and as families have them.
GROUPINGS = {"pair": ("en-de", "de-en", "en-fr"), "family": ("Germanic", "Germanic", "Romance")}


@pytest.fixture(params=GROUPINGS)
def groups(request, directions):
    return dict(zip(directions, GROUPINGS[request.param], strict=True))


@pytest.fixture(params=[Turns, Blocks])
def way(request, monkeypatch):
    """Either way to compute; on a CPU, positions take turns."""
    monkeypatch.setattr(module, "Turns", request.param)


def move(adapters, seed=0):
    """Away from zero, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapters.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter += 0.3 * noise
    return adapters


@pytest.fixture
def make_adapted(make_model, directions):
    def make(groups, *, moved=True, vocabulary=None, **changes):
        model = make_model(**changes)
        trained = TrainedModel(model, vocabulary, directions)
        with_adapters(trained, groups, AdapterSettings(bottleneck=BOTTLENECK))
        if moved:
            move(trained.model.adapters)
        return trained

    return make


def loss_of(trained, batch):
    hidden = batch.counted(trained.model(batch, trained.masks()(batch)))
    target = batch.counted(batch.target_out_BT)
    loss, _ = smoothed_cross_entropy(hidden, trained.model.output.weight, target, smoothing=0.1)
    return loss


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("packed", [False, True])
@torch.no_grad()
def test_new_adapters_change_no_bit_of_the_output(
    make_adapted, make_model, make_sentences, make_batch, make_packed, groups, packed
):
    trained = make_adapted(groups, moved=False)
    batch = (make_packed if packed else make_batch)(make_sentences(7))
    assert torch.equal(trained.model(batch, trained.masks()(batch)), make_model()(batch))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("spare", [None, 0, 40])
@torch.no_grad()
def test_a_mixed_batch_equals_a_slow_forward_pass_over_each_sentence(
    make_adapted, make_sentences, make_batch, make_packed, directions, groups, spare
):
    trained = make_adapted(groups, dtype=torch.float64)
    sentences = make_sentences(9)
    assert len({row for row, _, _ in sentences}) == 3
    batch = make_batch(sentences) if spare is None else make_packed(sentences, spare)
    together = trained.model(batch, trained.masks()(batch))
    for place, sentence in enumerate(sentences):
        alone = make_batch([sentence])
        expected = slow_forward(trained.model, alone, groups[directions[sentence[0]]])
        if spare is None:
            found = together[place, : len(expected)]
        else:
            start = int(batch.target_spans.start_C1[place])
            found = together[0, start : start + len(expected)]
        assert torch.allclose(found, expected, atol=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=300), st.integers(7, 40), st.integers(0, 9))
def test_blocks_compute_what_turns_do_gradients_included(rows, groups, seed):
    layer = move(LayerAdapters(groups, 8, 3).double(), seed)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, len(rows), 8, dtype=torch.float64, generator=generator, requires_grad=True)
    found = []
    for way in (Turns, Blocks):
        output = layer(x, way.of(torch.tensor(rows), groups))
        gradients = torch.autograd.grad(output.sin().sum(), (x, *layer.parameters()))
        found.append((output, *gradients))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


@pytest.mark.usefixtures("way")
def test_packed_and_recomputed_gradients_are_those_of_padded_ones(
    make_adapted, make_sentences, make_batch, make_packed, groups
):
    trained = make_adapted(groups, dtype=torch.float64)
    sentences = make_sentences(9)
    found = []
    for batch, recompute in itertools.product(
        (make_batch(sentences), make_packed(sentences, 30)), (False, True)
    ):
        trained.model.recompute = recompute
        trained.model.zero_grad()
        loss = loss_of(trained, batch)
        loss.backward()
        gradients = [each.grad.clone() for each in trained.model.adapters.parameters()]
        found.append((loss.item(), gradients))
    for loss, gradients in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-6)
        for one, other in zip(gradients, found[0][1], strict=True):
            assert torch.allclose(one, other, atol=2e-5)


@pytest.mark.usefixtures("way")
def test_gradients_of_absent_groups_are_zeros_and_not_missing(
    make_adapted, make_sentences, make_batch, directions
):
    trained = make_adapted(dict(zip(directions, GROUPINGS["pair"], strict=True)))
    batch = make_batch([sentence for sentence in make_sentences(12) if sentence[0] == 1])
    loss_of(trained, batch).backward()
    for name, parameter in trained.model.adapters.named_parameters():
        assert not parameter.grad[[0, 2]].any(), name
        assert parameter.grad[1].any(), name


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "SGD"])
def test_training_leaves_every_bit_of_the_base(
    make_adapted, make_model, make_sentences, make_batch, groups, kind
):
    trained = make_adapted(groups, moved=False)
    trained.model.train()
    trainable = [each for each in trained.model.parameters() if each.requires_grad]
    optimizer = getattr(torch.optim, kind)(trainable, lr=0.1, weight_decay=0.1)
    batch = make_batch(make_sentences(9))
    before = loss_of(trained, batch).item()
    for _ in range(5):
        optimizer.zero_grad()
        loss_of(trained, batch).backward()
        optimizer.step()
    assert loss_of(trained, batch).item() < before
    found = dict(trained.model.named_parameters())
    base = dict(make_model().named_parameters())
    assert all(torch.equal(found[name], parameter) for name, parameter in base.items())
    others = found.keys() - base.keys()
    assert {id(found[name]) for name in others} == set(map(id, trainable))
    assert all(name.startswith("adapters.") for name in others)
    assert all(found[name].any() for name in others)


def test_an_adapter_has_as_many_parameters_as_the_papers(make_adapted, groups):
    adapters = make_adapted(groups).model.adapters
    d, b, layers = 16, BOTTLENECK, 4
    expected = layers * len(set(groups.values())) * (2 * d * b + b + d + 2 * d)
    assert sum(each.numel() for each in adapters.parameters()) == expected


def test_adapters_of_60_directions_are_87_percent_of_the_papers_large_model():
    """Bottleneck 256 on the 438.5 million of mT-big, counted without allocating them."""
    shape = ModelSettings(encoder_layers=6, decoder_layers=6, d_model=1024, d_ff=4096, heads=16)
    codes = ["".join(letters) for letters in itertools.product("abcdef", repeat=2)]
    pairs = [Direction("eng", code) for code in codes[:30]]
    groups = {each: str(each) for pair in pairs for each in (pair, pair.reverse)}
    with torch.device("meta"):
        base = Transformer(shape, vocabulary_size=128_000, pad=0)
        adapters = Adapters(shape, AdapterSettings(bottleneck=256), groups)
    counts = [sum(each.numel() for each in part.parameters()) for part in (base, adapters)]
    assert counts[1] == 379_883_520
    assert round(100 * counts[1] / counts[0], 1) == 86.6


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("beam", [1, 3])
@torch.no_grad()
def test_beam_search_scores_are_those_of_teacher_forcing(
    make_adapted, make_sentences, make_batch, groups, beam
):
    trained = make_adapted(groups, seed=5, share_embeddings="none")
    model, sentences = trained.model, make_sentences(10, seed=4)
    model.output.weight *= 2.5
    model.output.weight[EOS] *= 1.5
    batch, masks = make_batch(sentences), trained.masks()
    found = search(
        model,
        batch,
        eos=EOS,
        masks=masks(batch),
        settings=DecodingSettings(beam=beam, max_length_extra=9),
    )
    assert len({len(each.tokens) for each in found}) > 1
    rows = [
        (row, source, hypothesis.tokens)
        for (row, source, _), hypothesis in zip(sentences, found, strict=True)
    ]
    forced = make_batch(rows)
    log_p = model.output(model(forced, masks(forced))).log_softmax(-1)
    each_BT = log_p.gather(-1, forced.target_out_BT[..., None])[..., 0] * forced.target_real_BT
    scores = each_BT.sum(1) / forced.target_real_BT.sum(1)
    assert [one.score for one in found] == pytest.approx(scores.tolist(), abs=1e-4)


@pytest.mark.usefixtures("way")
@torch.no_grad()
def test_every_direction_has_other_adapters(make_adapted, make_sentences, make_batch, directions):
    trained = make_adapted(dict(zip(directions, GROUPINGS["pair"], strict=True)))
    batch = make_batch(make_sentences(5))
    rotated = replace(batch, direction_C=(batch.direction_C + 1) % 3)
    one, other = (trained.model(batch, trained.masks()(each)) for each in (batch, rotated))
    assert not torch.isclose(one, other).all(-1).any()


@pytest.mark.parametrize("packed", [False, True])
def test_blocks_under_autocast_are_close_and_their_gradients_in_fp32(
    make_adapted, make_sentences, make_batch, make_packed, groups, packed, monkeypatch
):
    trained = make_adapted(groups)
    batch = (make_packed if packed else make_batch)(make_sentences(9))
    found = []
    for way, mixed in ((Turns, False), (Blocks, True), (Turns, True)):
        monkeypatch.setattr(module, "Turns", way)
        trained.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = loss_of(trained, batch)
        loss.backward()
        gradients = [each.grad for each in trained.model.adapters.parameters()]
        assert all(each.dtype == torch.float32 for each in gradients)
        found.append((loss.item(), torch.cat([each.flatten() for each in gradients])))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=0.02)
        assert F.cosine_similarity(gradient, found[0][1], dim=0) > 0.98


def test_layers_still_compile_whole_and_adapters_stay_beside_them(
    make_adapted, make_sentences, make_packed, groups
):
    # On a device without values: what asked for one, as a GPU would be waited for, is an error.
    batch = make_packed(make_sentences(6), 5).to("meta")
    trained = make_adapted(groups)
    masks = trained.masks().to("meta")
    trained.model.to("meta").train()
    trained.model.compile_layers(backend="aot_eager")
    trained.model(batch, masks(batch)).sum().backward()
    for name, parameter in trained.model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("adapters."), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_layers_with_adapters_equal_eager_ones(
    make_adapted, make_sentences, make_packed, groups
):
    eager, compiled = (make_adapted(groups, dropout=0.0) for _ in range(2))
    compiled.model.compile_layers()
    for step in range(3):
        found = []
        for trained in (eager, compiled):
            trained.model.train().zero_grad()
            loss = loss_of(trained, make_packed(make_sentences(9, seed=step), 10 + step))
            loss.backward()
            gradients = [each.grad for each in trained.model.adapters.parameters()]
            found.append(torch.cat([loss[None], *(each.flatten() for each in gradients)]))
        assert torch.allclose(*found, atol=1e-4)


@pytest.fixture(scope="module")
def vocabulary():
    text = ["the light shone in the darkness", "das Licht schien in der Finsternis"] * 20
    return Vocabulary.train(
        text, languages=("en", "de", "fr"), settings=VocabularySettings(size=60)
    )


def test_saving_and_loading_gives_adapters_and_their_owners_back(
    tmp_path, vocabulary, directions, groups
):
    shape = {"encoder_layers": 1, "decoder_layers": 2, "d_model": 8, "d_ff": 11, "heads": 2}
    model = Transformer(ModelSettings(**shape), vocabulary_size=vocabulary.size, pad=0).eval()
    trained = TrainedModel(model, vocabulary, directions)
    with_adapters(trained, groups, AdapterSettings(bottleneck=BOTTLENECK))
    move(model.adapters)
    save_checkpoint(tmp_path / "best", trained)
    loaded = load_checkpoint(tmp_path / "best")
    assert loaded.model.adapters.group_of == groups
    assert loaded.model.adapters.settings == model.adapters.settings
    expected = model.state_dict()
    assert loaded.model.state_dict().keys() == expected.keys()
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    lines = {directions[2]: ["the light"], directions[0]: ["darkness shone", "light"]}
    decoding = DecodingSettings(beam=2, max_length_extra=8)
    found = [translate(each, lines, decoding=decoding) for each in (trained, loaded)]
    assert found[0] == found[1]
    loaded.model.adapters = None
    assert translate(loaded, lines, decoding=decoding) != found[0]


def test_weights_without_the_adapters_that_are_described_are_refused(
    tmp_path, vocabulary, directions, groups, monkeypatch
):
    shape = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8, "d_ff": 11, "heads": 2}
    model = Transformer(ModelSettings(**shape), vocabulary_size=vocabulary.size, pad=0)
    trained = TrainedModel(model, vocabulary, directions)
    with_adapters(trained, groups, AdapterSettings(bottleneck=BOTTLENECK))
    monkeypatch.setattr(model.adapters, "settings", AdapterSettings(bottleneck=BOTTLENECK + 1))
    save_checkpoint(tmp_path / "best", trained)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(tmp_path / "best")


def test_directions_without_adapters_are_refused(make_adapted, groups, directions):
    trained = make_adapted(groups)
    with pytest.raises(AdapterError, match="no adapters for de-fr"):
        trained.masks([*directions, Direction("de", "fr")])
    with pytest.raises(AdapterError, match="already"):
        with_adapters(trained, groups, AdapterSettings())


def test_trained_directions_must_have_adapters_and_others_may(make_adapted, groups, directions):
    unseen = Direction("de", "fr")
    trained = make_adapted(groups | {unseen: groups[directions[2]]})
    assert trained.masks([unseen]) is not None
    with pytest.raises(AdapterError, match="en-fr"):
        make_adapted({direction: groups[direction] for direction in directions[:2]})
    with pytest.raises(AdapterError, match="no direction"):
        make_adapted({})


def test_a_model_with_adapters_must_be_told_the_groups(
    make_adapted, make_sentences, make_batch, groups
):
    with pytest.raises(ValueError, match="the group of each position"):
        make_adapted(groups).model(make_batch(make_sentences(2)))
