"""Packed batches against padded ones and against one sentence at a time."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.masks import DirectionMasks
from nsmt.neurons.recording import ActivationRecorder
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.training.identification import positions_of


@pytest.fixture(scope="module", params=[False, True], ids=["dense", "masked"])
def model_and_masks(request, make_model, make_atlas, directions):
    model = make_model()
    masks = DirectionMasks(make_atlas(model), directions, sites=model.sites)
    return model, (masks if request.param else lambda _: None)


def targets_of(batch):
    """The stretch of the target that each sentence takes."""
    return [slice(*ends) for ends in pairwise(batch.target_spans.start_C1.tolist())]


def loss_of(model, masks, batch):
    hidden = batch.counted(model(batch, masks(batch)))
    target = batch.counted(batch.target_out_BT)
    loss, _ = smoothed_cross_entropy(hidden, model.output.weight, target, smoothing=0.1)
    return loss / batch.update_tokens


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(0, 99), st.integers(0, 40))
@torch.no_grad()
def test_packed_equals_padded_equals_one_sentence_at_a_time(
    model_and_masks, make_sentences, make_batch, make_packed, count, seed, spare
):
    model, masks = model_and_masks
    sentences = make_sentences(count, seed=seed)
    packed, padded = make_packed(sentences, spare), make_batch(sentences)
    assert packed.update_tokens == padded.update_tokens
    found, together = model(packed, masks(packed))[0], model(padded, masks(padded))
    for row, span in enumerate(targets_of(packed)[:count]):
        one = make_batch([sentences[row]])
        alone = model(one, masks(one))[0]
        assert torch.allclose(found[span], alone, atol=1e-5)
        assert torch.allclose(together[row, : len(alone)], alone, atol=1e-5)


@pytest.mark.parametrize("spare", [0, 1, 30])
def test_packed_gives_the_loss_and_the_gradients_of_padded(
    model_and_masks, make_sentences, make_batch, make_packed, spare
):
    model, masks = model_and_masks
    sentences = make_sentences(9)
    found = []
    for batch in (make_batch(sentences), make_packed(sentences, spare)):
        model.zero_grad()
        loss = loss_of(model, masks, batch)
        loss.backward()
        found.append((loss.item(), [parameter.grad.clone() for parameter in model.parameters()]))
    (loss, gradients), (packed_loss, packed_gradients) = found
    assert packed_loss == pytest.approx(loss, rel=1e-6)
    for one, other in zip(gradients, packed_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


@torch.no_grad()
def test_what_stands_behind_the_last_sentence_does_not_matter(
    model_and_masks, make_sentences, make_packed
):
    model, masks = model_and_masks
    batch = make_packed(make_sentences(5), 20)
    before = batch.counted(model(batch, masks(batch)))
    batch.source_BS[~batch.source_real_BS] = 11
    batch.target_in_BT[~batch.target_real_BT] = 12
    assert torch.equal(batch.counted(model(batch, masks(batch))), before)


@torch.no_grad()
def test_a_target_whose_source_is_missing_from_padding_stays_finite(make_model, make_packed):
    """Padding that is longer on the target side attends to spans without any key."""
    model = make_model()
    batch = make_packed([(0, torch.tensor([9]).numpy(), torch.tensor([9]).numpy())], 0)
    spans = batch.source_spans.start_C1
    assert (spans.diff() == 0).any()
    assert model(batch).isfinite().all()


@pytest.mark.parametrize("unit", ["token", "sentence_union"])
@torch.no_grad()
def test_packed_batches_count_what_padded_ones_count(
    model_and_masks, make_sentences, make_batch, make_packed, directions, unit
):
    model, masks = model_and_masks
    sentences = make_sentences(12)
    found = []
    for batch in (make_batch(sentences), make_packed(sentences, 25)):
        statistics = ActivationStatistics(
            [str(d) for d in directions], model.sites, rule=CountRule(unit)
        )
        recorder = ActivationRecorder(statistics)
        with recorder.attached(model.projections):
            recorder.observe(batch.direction_C, positions_of(batch))
            model(batch, masks(batch))
        found.append(statistics)
    for site in model.sites:
        assert torch.equal(found[0].active[site.name], found[1].active[site.name])
        assert torch.equal(found[0].units[site.name], found[1].units[site.name])
        assert found[0].active[site.name].any()


@torch.no_grad()
def test_padding_cannot_be_counted_in_packed_batches(make_model, make_sentences, make_packed):
    model, batch = make_model(), make_packed(make_sentences(3))
    statistics = ActivationStatistics(["a", "b", "c"], model.sites, rule=CountRule("token", True))
    recorder = ActivationRecorder(statistics)
    with recorder.attached(model.projections):
        recorder.observe(batch.direction_C, positions_of(batch))
        with pytest.raises(ValueError, match="no padding"):
            model(batch)


def test_attention_dropout_works_on_packed_batches(make_model, make_sentences, make_packed):
    model = make_model(attention_dropout=0.5, dropout=0.0).train()
    batch = make_packed(make_sentences(4))
    assert not torch.equal(model(batch), model(batch))
