"""Claims about unseen directions: which there are, and the neurons they are translated with."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch

from nsmt.data.corpus import Corpus, encoded_table
from nsmt.data.pivot_join import unseen_texts
from nsmt.errors import AtlasError, ConfigurationError
from nsmt.evaluation.translation import likelihoods
from nsmt.evaluation.zero_shot import unseen_directions, variants
from nsmt.languages import Direction, LanguageTable
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.by_language import factorised
from nsmt.neurons.random_sets import random_like
from nsmt.neurons.selection import SelectionSettings, keep_all, select
from nsmt.neurons.statistics import ActivationStatistics

TABLE = LanguageTable(["en", "de", "fr", "nl", "es"])
LANGUAGES = ("de", "nl", "fr", "es")
ALL = [Direction(*pair) for pair in itertools.permutations(("de", "nl", "fr"), 2)]


@pytest.fixture
def specialised(finished_run):
    return load_checkpoint(finished_run / "neuron_specialization" / "checkpoint")


@pytest.fixture
def statistics(finished_run):
    return ActivationStatistics.load(finished_run / "identification" / "statistics.safetensors")


def of(trained, statistics, directions=ALL, name="neuron_specialization"):
    return list(
        variants(name, "specialised", trained, directions, pivot="en", statistics=statistics)
    )


def test_all_directions_but_those_with_the_pivot_are_unseen():
    found = unseen_directions(None, TABLE, pivot="en")
    assert set(found) == {Direction(*pair) for pair in itertools.permutations(LANGUAGES, 2)}
    assert len(found) == 4 * 3
    # By family, as tables have them.
    assert [d.source for d in found[::3]] == list(LANGUAGES)
    assert set(unseen_directions(["fr", "de"], TABLE, pivot="en")) == {
        Direction("de", "fr"),
        Direction("fr", "de"),
    }


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["de", "fro"], "fro cannot be evaluated\n.*did you mean 'fr'"),
        (["de", "en"], "en cannot be evaluated\n.*beside the pivot en: de, nl, fr, es"),
        (["de"], "no direction between de without en"),
    ],
)
def test_languages_that_make_no_unseen_direction_are_refused(chosen, message):
    with pytest.raises(ConfigurationError, match=message):
        unseen_directions(chosen, TABLE, pivot="en")


def without_rows(model, atlas, *, encoder, decoder):
    """A copy of the model in which the denied neurons' rows of the first weights are zero."""
    changed = copy.deepcopy(model)
    for stack, task in (("encoder", encoder), ("decoder", decoder)):
        layers = changed.encoder_stack if stack == "encoder" else changed.decoder_stack
        for site, layer in zip(atlas.stack(stack), layers, strict=True):
            with torch.no_grad():
                layer.feed_forward.fc1.weight[~atlas.mask(task, site)] = 0
    return changed


def test_x_to_y_reads_as_x_into_the_pivot_and_writes_as_the_pivot_into_y(
    specialised, statistics, run_corpus
):
    """Against models whose weights were masked by hand, which know of no atlas."""
    # With fewer neurons than the run's own k, so that the sets differ between directions.
    atlas = select(statistics, SelectionSettings(k=60.0), pivot="en")
    specialised = replace(specialised, atlas=atlas)
    (variant,) = of(specialised, statistics)
    assert variant.trained.directions == ALL
    texts = unseen_texts(Corpus.open(run_corpus), ALL)
    tables = {
        d: encoded_table(specialised.vocabulary, t.sources, t.targets) for d, t in texts.items()
    }
    found = likelihoods(variant.trained, tables, tokens=512)
    halves = {d: (f"{d.source}-en", f"en-{d.target}") for d in ALL}
    for direction, (encoder, decoder) in halves.items():
        by_hand = without_rows(specialised.model, atlas, encoder=encoder, decoder=decoder)
        plain = replace(specialised, model=by_hand, atlas=None)
        expected = likelihoods(plain, {direction: tables[direction]}, tokens=512)[direction]
        assert found[direction][0] == pytest.approx(expected[0], rel=1e-4)
        assert (found[direction][1] == expected[1]).all()
        # Other halves give other numbers: the claim above is not empty.
        other = without_rows(specialised.model, atlas, encoder=decoder, decoder=encoder)
        swapped = likelihoods(
            replace(plain, model=other), {direction: tables[direction]}, tokens=512
        )[direction]
        assert found[direction][0] != pytest.approx(swapped[0], rel=1e-4)


def test_every_unseen_direction_has_factorised_sets(specialised, statistics):
    settings = SelectionSettings(k=80.0)
    seen = [Direction.parse(task) for task in statistics.tasks]
    trained = replace(specialised, atlas=factorised(statistics, settings, seen, pivot="en"))
    (variant,) = of(trained, statistics, name="factorised")
    assert variant.either_way
    assert variant.trained.atlas == factorised(statistics, settings, ALL, pivot="en")
    assert variant.trained.atlas.tasks == tuple(map(str, ALL))


def test_beside_one_pivot_factorised_sets_are_the_merged_ones(specialised, statistics):
    (variant,) = of(specialised, statistics)
    assert (variant.name, variant.label) == ("neuron_specialization", "specialised")
    assert variant.either_way
    assert variant.trained.model is specialised.model


@pytest.fixture
def of_more_pairs(specialised, statistics):
    """Statistics of a corpus that trained German into Dutch too; its neurons are others."""
    tasks = [*statistics.tasks, "de-nl", "nl-de"]
    more = ActivationStatistics(tasks, statistics.sites, provenance={"of": "more pairs"})
    for site in statistics.sites:
        counts = statistics.active[site.name]
        added = counts.flip(-1)[:2] * 5
        more.active[site.name] = torch.cat([counts, added])
    return more


def test_where_a_language_is_read_in_several_directions_both_ways_are_systems(
    specialised, of_more_pairs
):
    settings = SelectionSettings(k=60.0)
    atlas = select(of_more_pairs, settings, pivot="en")
    directions = [Direction("de", "fr"), Direction("fr", "de")]
    merged_one, by_language = of(replace(specialised, atlas=atlas), of_more_pairs, directions)
    assert [v.name for v in (merged_one, by_language)] == [
        "neuron_specialization",
        "neuron_specialization-factorised",
    ]
    assert merged_one.label == "specialised (merged sets)"
    assert by_language.label == "specialised (factorised sets)"
    assert not merged_one.either_way
    expected = factorised(of_more_pairs, settings, directions, pivot="en")
    assert by_language.trained.atlas == expected
    assert merged_one.trained.atlas != expected
    # One-sided specialisation stays one-sided.
    one_sided = replace(specialised, atlas=keep_all(atlas, except_in="decoder"))
    _, by_language = of(one_sided, of_more_pairs, directions)
    assert by_language.trained.atlas == keep_all(expected, except_in="decoder")


def test_sets_that_were_not_selected_from_the_statistics_are_merged_alone(
    specialised, of_more_pairs, statistics
):
    atlas = select(of_more_pairs, SelectionSettings(k=60.0), pivot="en")
    for made, counts in (
        (random_like(atlas, seed=1), of_more_pairs),
        (atlas, statistics),
        (atlas, None),
    ):
        (variant,) = of(replace(specialised, atlas=made), counts, [Direction("de", "fr")])
        assert not variant.either_way


def test_a_model_without_masks_translates_as_it_is(finished_run, statistics):
    dense = load_checkpoint(finished_run / "dense" / "checkpoint")
    (variant,) = of(dense, statistics, name="dense")
    assert variant.trained.atlas is None
    assert variant.trained.masks() is None
    assert variant.trained.directions == ALL


def test_a_language_that_was_not_measured_is_named(specialised, statistics):
    with pytest.raises(AtlasError, match="cs-en"):
        of(specialised, statistics, [Direction("cs", "de")])
