import pickle
from dataclasses import replace
from itertools import product
from string import ascii_lowercase

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.batch import SequenceFormat
from nsmt.errors import AtlasError
from nsmt.languages import Direction
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.masks import DirectionMasks
from nsmt.neurons.atlas import NeuronAtlas, pack_bits, unpack_bits
from nsmt.neurons.sites import Site

EN_DE = Direction("en", "de")
SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5})


def loss_of(model, batch, masks):
    hidden = model(batch, masks)
    real = batch.target_real_BT
    loss, _ = smoothed_cross_entropy(
        hidden[real], model.output.weight, batch.target_out_BT[real], smoothing=0.1
    )
    return loss


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.lists(st.integers(0, 2), min_size=1, max_size=6),
    st.permutations(range(3)),
    st.integers(0, 2**31),
)
def test_every_sentence_gets_the_masks_of_its_own_direction(widths, rows, order, seed):
    tasks = ["en-de", "de-en", "en-fr"]
    sites = [Site("encoder", depth, width) for depth, width in enumerate(widths)]
    generator = torch.Generator().manual_seed(seed)
    masks = {site.name: torch.rand(3, site.width, generator=generator) < 0.5 for site in sites}
    atlas = NeuronAtlas.from_masks(tasks, sites, masks)
    # The run's list of directions need not be in the order of the atlas.
    directions = [Direction.parse(tasks[row]) for row in order]
    batch = SEQUENCES.collate(
        [np.array([9])] * len(rows), [np.array([9])] * len(rows), [EN_DE] * len(rows), rows=rows
    )
    found = DirectionMasks(atlas, directions, sites=sites)(batch)
    for site in sites:
        assert found[site.name].shape == (len(rows), 1, (site.width + 7) // 8)
        assert found[site.name].dtype == torch.uint8
        for sentence, row in enumerate(rows):
            expected = atlas.mask(str(directions[row]), site)
            assert torch.equal(unpack_bits(found[site.name][sentence, 0], site.width), expected)


def test_masks_of_directions_that_the_atlas_lacks_are_refused(make_model, make_atlas):
    model = make_model()
    with pytest.raises(AtlasError, match="'de-fr'"):
        DirectionMasks(make_atlas(model), [Direction("de", "fr")], sites=model.sites)


@pytest.mark.parametrize("change", [{"d_ff": 20}, {"encoder_layers": 3}, {"decoder_layers": 1}])
def test_an_atlas_of_another_model_is_refused(make_model, make_atlas, directions, change):
    atlas = make_atlas(make_model(**change))
    with pytest.raises(AtlasError, match="the model and the atlas belong to different models"):
        DirectionMasks(atlas, directions, sites=make_model().sites)


def test_masks_are_no_parameters_and_not_in_the_state(make_model, make_atlas, directions):
    model = make_model()
    masks = DirectionMasks(make_atlas(model), directions, sites=model.sites)
    assert not list(masks.parameters())
    assert not masks.state_dict()
    # Bits: 3 directions, 4 sites of 21 neurons in 3 bytes each.
    assert (masks.packed_TP.dtype, masks.packed_TP.shape) == (torch.uint8, (3, 12))


@pytest.mark.parametrize("mask_bias", [False, True])
def test_a_mixed_batch_equals_one_sentence_at_a_time_with_its_own_masks(
    make_model, make_sentences, make_batch, make_atlas, directions, mask_bias
):
    model = make_model(dtype=torch.float64, mask_bias=mask_bias)
    atlas = make_atlas(model)
    masks = DirectionMasks(atlas, directions, sites=model.sites)
    sentences = make_sentences(9)
    assert len({row for row, _, _ in sentences}) == 3
    batch = make_batch(sentences)
    together = model(batch, masks(batch))
    loss_of(model, batch, masks(batch)).backward()
    found = {name: each.grad.clone() for name, each in model.named_parameters()}
    model.zero_grad()
    for place, sentence in enumerate(sentences):
        alone = make_batch([sentence])
        task = str(directions[sentence[0]])
        own = {site.name: pack_bits(atlas.mask(task, site))[None, None] for site in model.sites}
        length = alone.target_in_BT.shape[1]
        assert torch.allclose(model(alone, own)[0], together[place, :length], atol=1e-12)
        loss_of(model, alone, own).backward()
    for name, parameter in model.named_parameters():
        # The loss sums in fp32 by design, the gradients before it are float64.
        assert torch.allclose(found[name], parameter.grad, atol=2e-5, rtol=1e-5), name


def test_an_atlas_of_all_neurons_equals_no_masks(
    make_model, make_sentences, make_batch, make_atlas, directions
):
    model = make_model()
    masks = DirectionMasks(make_atlas(model, share=1.1), directions, sites=model.sites)
    batch = make_batch(make_sentences(5))
    assert torch.equal(model(batch, masks(batch)), model(batch))


def test_masks_change_the_output_of_every_direction(
    make_model, make_sentences, make_batch, make_atlas, directions
):
    model = make_model()
    masks = DirectionMasks(make_atlas(model), directions, sites=model.sites)
    batch = make_batch(make_sentences(5))
    plain = model(batch)
    rotated = masks(replace(batch, direction_C=(batch.direction_C + 1) % 3))
    for other in (plain, model(batch, rotated)):
        assert not torch.isclose(model(batch, masks(batch)), other).all(-1).any()


def test_masked_weights_in_a_copy_of_the_model_give_the_same_output(
    make_model, make_sentences, make_batch, make_atlas, directions
):
    """The paper's own form: one direction at a time, first weights multiplied by the mask."""
    model = make_model()
    atlas = make_atlas(model)
    masks = DirectionMasks(atlas, directions, sites=model.sites)
    batch = make_batch([sentence for sentence in make_sentences(12) if sentence[0] == 1])
    copy = make_model()
    copy.load_state_dict(model.state_dict())
    with torch.no_grad():
        for site in copy.sites:
            layers = copy.encoder_stack if site.stack == "encoder" else copy.decoder_stack
            weight = layers[site.layer].feed_forward.fc1.weight
            weight *= atlas.mask(str(directions[1]), site)[:, None]
    assert torch.allclose(model(batch, masks(batch)), copy(batch), atol=1e-5)


@pytest.mark.parametrize(("directions", "limit_mib"), [(60, 1), (3000, 20)])
def test_the_masks_of_many_directions_stay_small(directions, limit_mib):
    """Those of the papers' large model: 12 sites of 4,096 neurons."""
    sites = [Site(stack, depth, 4096) for stack in ("encoder", "decoder") for depth in range(6)]
    codes = ["".join(letters) for letters in product(ascii_lowercase, repeat=3)]
    tasks = [f"en-{code}" for code in codes[:directions]]
    full = torch.ones(1, 4096, dtype=torch.bool).expand(directions, -1)
    atlas = NeuronAtlas.from_masks(tasks, sites, {site.name: full for site in sites})
    masks = DirectionMasks(atlas, [Direction.parse(task) for task in tasks], sites=sites)
    # All that it holds: bits twice would be too much.
    assert len(pickle.dumps(masks)) <= limit_mib * 2**20


def test_masks_give_their_atlas_back_and_take_another(make_model, make_atlas, directions):
    model = make_model()
    first, second = make_atlas(model), make_atlas(model, seed=1)
    masks = DirectionMasks(first, directions, sites=model.sites)
    kept = masks.atlas
    assert kept == first
    masks.replace(second)
    assert masks.atlas == second
    assert kept == first
