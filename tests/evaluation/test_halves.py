"""Claims about X→Y of weights and adapters that were trained for X→pivot and pivot→Y."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from nsmt.data.corpus import Corpus, encoded_table
from nsmt.data.pivot_join import unseen_texts
from nsmt.errors import AdapterError, CheckpointError, ConfigurationError
from nsmt.evaluation.translation import likelihoods
from nsmt.evaluation.zero_shot import variants
from nsmt.languages import Direction, Halves
from nsmt.methods.adapters import family_groups, pair_groups
from nsmt.models.adapters import Adapters, AdapterSettings, with_adapters
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.systems import models_of
from nsmt.models.weight_masks import OUTPUT, WeightMasks, maskable_weights

UNSEEN = [Direction(*pair) for pair in itertools.permutations(("de", "nl", "fr"), 2)]


@pytest.fixture
def dense(finished_run):
    return load_checkpoint(finished_run / "dense" / "checkpoint")


@pytest.fixture
def tables(dense, run_corpus):
    texts = unseen_texts(Corpus.open(run_corpus), UNSEEN)
    return {d: encoded_table(dense.vocabulary, t.sources, t.targets) for d, t in texts.items()}


def variant_of(trained, directions=UNSEEN):
    (found,) = variants("name", "label", trained, directions, pivot="en", statistics=None)
    return found.trained


def found_by(trained, tables):
    """Likelihoods of every direction, each by the model that has it."""
    found = {}
    for model in models_of(trained):
        own = {direction: tables[direction] for direction in model.directions}
        found |= likelihoods(model, own, tokens=512)
    return found


def assert_only_these_halves(found, tables, by_hand):
    """Every direction is as its halves make it, and not as the other way round would."""
    for direction, table in tables.items():
        halves = Direction(direction.source, "en"), Direction("en", direction.target)
        for right, each in ((True, halves), (False, halves[::-1])):
            (expected,) = likelihoods(
                by_hand(direction, *each), {direction: table}, tokens=512
            ).values()
            same = found[direction][0] == pytest.approx(expected[0], rel=1e-4)
            assert same == right, direction


def test_a_trained_direction_has_its_own_halves_and_others_those_beside_the_pivot():
    trained = [Direction.parse(name) for name in ("de-en", "en-de", "nl-en", "en-nl", "de-nl")]
    for direction in trained:
        assert Halves.of(direction, trained, pivot="en") == (direction, direction)
    found = Halves.of(Direction("nl", "de"), trained, pivot="en")
    assert (str(found.encoder), str(found.decoder)) == ("nl-en", "en-de")


@pytest.mark.parametrize("name", ["en-fr", "fr-en"])
def test_an_untrained_direction_of_the_pivot_is_named(name):
    with pytest.raises(ConfigurationError, match=f"{name} was not trained.*the pivot, en"):
        Halves.of(Direction.parse(name), [Direction("de", "en")], pivot="en")


def adapted(dense, run_corpus, *, family):
    languages = Corpus.open(run_corpus).languages
    groups = (
        family_groups(dense.directions, languages, pivot="en")
        if family
        else pair_groups(dense.directions)
    )
    trained = with_adapters(dense, groups, AdapterSettings(bottleneck=6))
    with torch.no_grad():
        for parameter in trained.model.adapters.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return trained


@pytest.mark.parametrize("family", [False, True])
def test_adapters_of_the_source_are_in_the_encoder_and_of_the_target_in_the_decoder(
    dense, run_corpus, tables, family
):
    """Against models with one set of adapters, cut out of the stacked tensors by hand."""
    trained = adapted(dense, run_corpus, family=family)
    own = trained.model.adapters

    def by_hand(direction, encoder, decoder):
        model = copy.deepcopy(trained.model)
        model.adapters = Adapters(model.settings, own.settings, {direction: "one"})
        for stack, half in (("encoder", encoder), ("decoder", decoder)):
            row = own.groups.index(own.group_of[half])
            for layer, cut in zip(getattr(own, stack), getattr(model.adapters, stack), strict=True):
                cut.load_state_dict({k: v[row : row + 1] for k, v in layer.state_dict().items()})
        return replace(trained, model=model.eval(), directions=[direction])

    found = found_by(variant_of(trained), tables)
    # Within a family, both halves are that family's, whichever way round.
    crossing = {
        d: each
        for d, each in tables.items()
        if own.group_of[Direction(d.source, "en")] != own.group_of[Direction("en", d.target)]
    }
    assert_only_these_halves(found, crossing, by_hand)
    for direction in tables.keys() - crossing.keys():
        same = by_hand(direction, Direction(direction.source, "en"), Direction("nl", "en"))
        expected = likelihoods(same, {direction: tables[direction]}, tokens=512)[direction]
        assert found[direction][0] == pytest.approx(expected[0], rel=1e-4)
    assert len(crossing) == (4 if family else 6)


@pytest.mark.parametrize("output_projection", [False, True])
def test_weights_of_the_encoder_are_the_sources_and_all_others_the_targets(
    dense, tables, output_projection
):
    """Against copies whose weights are multiplied by hand."""
    weights = maskable_weights(dense.model, output_projection=output_projection)
    drawn = [
        (str(d), {name: torch.rand(each.shape) < 0.7 for name, each in weights.items()})
        for d in dense.directions
    ]
    masks = dict(drawn)
    trained = replace(dense, weight_masks=WeightMasks.from_masks(drawn))

    def by_hand(direction, encoder, decoder):
        model = copy.deepcopy(dense.model)
        # Embeddings are used whole, so the projection is no longer theirs.
        model.output.weight = torch.nn.Parameter(model.output.weight.detach().clone())
        with torch.no_grad():
            for name, each in maskable_weights(model, output_projection=output_projection).items():
                half = encoder if name.startswith("encoder.") else decoder
                each.mul_(masks[str(half)][name])
        return replace(dense, model=model, directions=[direction])

    assert any(name.startswith("decoder.") and "cross_attention" in name for name in weights)
    assert (OUTPUT in weights) == output_projection
    assert_only_these_halves(found_by(variant_of(trained), tables), tables, by_hand)


def test_a_language_without_a_half_is_named_before_anything_is_translated(dense, run_corpus):
    trained = adapted(dense, run_corpus, family=False)
    with pytest.raises(CheckpointError, match=r"of cs-en, en-cs\n.*eval.languages"):
        variant_of(trained, [Direction("cs", "de"), Direction("de", "cs")])


def test_without_halves_an_unseen_direction_still_has_no_adapters(dense, run_corpus):
    trained = adapted(dense, run_corpus, family=True)
    with pytest.raises(AdapterError, match="no adapters for de-fr"):
        trained.masks([Direction("de", "fr")])
