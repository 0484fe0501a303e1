"""Claims about LAPE and its alternatives: those of a slow derivation from the definitions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nsmt.errors import AtlasError
from nsmt.neurons.language_rules import (
    average_precision,
    covering,
    difference,
    lape,
    lave,
    probability,
    variation,
)
from nsmt.neurons.language_selection import LanguageSelectionSettings
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics


@st.composite
def statistics(draw):
    sites = [
        Site("decoder", layer, draw(st.integers(1, 6))) for layer in range(draw(st.integers(1, 3)))
    ]
    languages = ["de", "en", "fr", "hi"][: draw(st.integers(1, 4))]
    made = ActivationStatistics(languages, sites, moments=("sum",))
    tokens = [draw(st.sampled_from([10, 20, 40])) for _ in languages]
    for site in sites:
        made.units[site.name] += torch.tensor(tokens)
        for row, count in enumerate(tokens):
            # Few values, so that there are ties.
            counts = draw(
                st.lists(
                    st.sampled_from([0, 1, 5, count]), min_size=site.width, max_size=site.width
                )
            )
            made.active[site.name][row] += torch.tensor(counts)
            made.moments["sum"][site.name][row] += torch.tensor(counts) * 0.5 - 1
    return made


def slow_lape(found, rate, percentile):
    """By the words of the paper, in plain Python; names, never positions."""
    p = {
        (site.name, neuron, language): found.active[site.name][row, neuron].item()
        / found.units[site.name][row].item()
        for site in found.sites
        for neuron in range(site.width)
        for row, language in enumerate(found.tasks)
    }
    neurons = list(dict.fromkeys((site, neuron) for site, neuron, _ in p))
    bar = sorted(p.values())[round(percentile * len(p)) - 1]
    entropies = {}
    for key in neurons:
        values = [p[*key, language] for language in found.tasks]
        total = sum(values)
        shares = [value / total for value in values if value] if total else []
        entropies[key] = -math.fsum(share * math.log(share) for share in shares)
        if not any(value > bar for value in values):
            entropies[key] = math.inf
    count = round(rate * len(neurons))
    chosen = sorted(neurons, key=lambda key: (round(entropies[key], 12), neurons.index(key)))[
        :count
    ]
    return {
        language: {key for key in chosen if p[*key, language] > bar} for language in found.tasks
    }


def sets_of(atlas):
    return {
        language: {
            (site.name, neuron)
            for site in atlas.sites
            for neuron in atlas.mask(language, site).nonzero().flatten().tolist()
        }
        for language in atlas.tasks
    }


@settings(deadline=None, max_examples=200)
@given(found=statistics(), rate=st.floats(0, 1), percentile=st.sampled_from([0.5, 0.8, 0.95]))
def test_lape_is_its_definition_with_ties_and_languages_without_neurons(found, rate, percentile):
    values = len(found.tasks) * sum(site.width for site in found.sites)
    if round(percentile * values) < 1:
        with pytest.raises(AtlasError):
            lape(found, rate=rate, percentile=percentile)
        return
    atlas = lape(found, rate=rate, percentile=percentile)
    expected = slow_lape(found, rate, percentile)
    assert set(sets_of(atlas)) == set(expected)
    assert sets_of(atlas) == expected


def test_the_union_of_all_languages_is_the_rate_of_all_neurons():
    torch.manual_seed(0)
    sites = [Site("decoder", layer, 500) for layer in range(4)]
    found = ActivationStatistics(("de", "en", "fr"), sites)
    for site in sites:
        found.units[site.name] += 1000
        found.active[site.name] += torch.randint(0, 1000, (3, 500))
    for rate in (0.01, 0.02, 0.05):
        union = lape(found, rate=rate)
        chosen = sum(int(union.masks(site).any(0).sum()) for site in sites)
        assert chosen == round(rate * 2000)
        # A stricter rate takes a part of what a looser one takes.
        looser = lape(found, rate=2 * rate)
        assert (union & looser) == union


def test_a_language_without_neurons_keeps_its_name():
    site = Site("decoder", 0, 40)
    found = ActivationStatistics(("aa", "bb", "cc"), [site])
    found.units[site.name] += 100
    found.active[site.name][0] += torch.arange(40) * 2
    found.active[site.name][2] += torch.arange(40).flip(0) * 2
    atlas = lape(found, rate=0.1, percentile=0.6)
    assert atlas.tasks == ("aa", "bb", "cc")
    assert not atlas.mask("bb", site).any()
    assert atlas.mask("aa", site).any()
    assert atlas.mask("cc", site).any()


@pytest.fixture
def two():
    site = Site("decoder", 0, 4)
    found = ActivationStatistics(("de", "en"), [site], moments=("sum",))
    found.units[site.name] += 10
    found.active[site.name] += torch.tensor([[9, 5, 1, 0], [9, 0, 2, 6]])
    found.moments["sum"][site.name] += torch.tensor([[5.0, 30, -4, 1], [6.0, 10, -2, 40]])
    return found


def test_probability_and_difference_take_the_highest_of_each_language(two):
    (site,) = two.sites
    assert probability(two, rate=0.5).masks(site).tolist() == [
        [True, True, False, False],
        [True, False, False, True],
    ]
    assert difference(two, rate=0.25).masks(site).tolist() == [
        [False, True, False, False],
        [False, False, False, True],
    ]


def test_lave_is_lape_of_means(two):
    (site,) = two.sites
    # Means above zero: (.5, .6), (3, 1), (0, 0), (.1, 4); the bar is the fourth of eight, 0.1.
    atlas = lave(two, rate=0.5, percentile=0.5)
    assert atlas.masks(site).tolist() == [[False, True, False, False], [False, True, False, True]]


def test_variation_takes_the_weights_that_changed_most():
    site = Site("decoder", 0, 3)
    before = {site.name: torch.eye(3) + 1}
    tuned = {
        language: {site.name: before[site.name] + 0.1 * torch.eye(3)[neuron][:, None]}
        for language, neuron in (("de", 2), ("en", 0))
    }
    atlas = variation(before, tuned, [site], rate=1 / 3)
    assert atlas.masks(site).tolist() == [[False, False, True], [True, False, False]]


@given(
    scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=2, max_size=12),
    data=st.data(),
)
def test_average_precision_is_the_mean_precision_at_the_hits(scores, data):
    size = len(scores)
    labels = data.draw(st.lists(st.booleans(), min_size=size, max_size=size).filter(any))
    found = average_precision(torch.tensor(scores)[:, None], torch.tensor(labels)).item()
    hits = [place for place in range(size) if labels[place]]
    precisions = []
    for hit in hits:
        above = [place for place in range(size) if scores[place] >= scores[hit]]
        precisions.append(sum(labels[place] for place in above) / len(above))
    assert found == pytest.approx(sum(precisions) / len(hits))


def test_a_rate_that_is_no_share_is_refused(two):
    for wrong in (-0.1, 1.5):
        with pytest.raises(AtlasError, match="no share"):
            lape(two, rate=wrong, percentile=0.5)


def test_a_bar_below_all_values_is_refused_before_anything_is_gathered():
    assert LanguageSelectionSettings(percentile=1.0)
    with pytest.raises(ValidationError, match="greater than 0"):
        LanguageSelectionSettings(percentile=0.0)


@settings(deadline=None, max_examples=100)
@given(found=statistics(), percent=st.sampled_from([0, 12.5, 50, 95, 100]))
def test_covering_takes_the_most_active_until_they_are_the_share_and_not_one_more(found, percent):
    atlas = covering(found, percent=percent)
    for row, language in enumerate(found.tasks):
        for site in found.sites:
            counts = found.active[site.name][row].tolist()
            chosen, reached = [], 0
            for neuron in sorted(range(site.width), key=lambda neuron: -counts[neuron]):
                if 100 * reached >= percent * sum(counts):
                    break
                chosen.append(neuron)
                reached += counts[neuron]
            assert atlas.mask(language, site).nonzero().flatten().tolist() == sorted(chosen)
