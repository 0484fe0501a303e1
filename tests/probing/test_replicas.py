"""Weighted counts against sentences read as often as their weights say."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.datamodule import TableReader, sequence_format
from nsmt.data.plan import PlannedBatch
from nsmt.languages import Direction
from nsmt.neurons.recording import ActivationRecorder, Positions
from nsmt.neurons.selection import cumulative
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.probing.replicas import (
    WeightedCounts,
    poisson_weights,
    replica_sets,
    weighted_counts,
)
from nsmt.probing.settings import StabilitySettings
from nsmt.probing.stability import overlaps, stability, weights_of

UNITS = ["token", "sentence_union"]
DIRECTION = Direction("de", "en")


def read_again_and_again(trained, table, weights_N, rule):
    """Plain statistics of a set in which each sentence occurs as often as its weight says."""
    statistics = ActivationStatistics([str(DIRECTION)], trained.model.sites, rule=rule)
    recorder = ActivationRecorder(statistics)
    reader = TableReader({DIRECTION: table}, sequence_format(trained.vocabulary))
    masks = trained.masks([DIRECTION])
    with recorder.attached(trained.model.projections), torch.no_grad():
        for row, times in enumerate(weights_N.tolist()):
            for _ in range(times):
                batch = reader.read(PlannedBatch(np.array([0]), np.array([row])))
                recorder.observe(
                    batch.direction_C,
                    {
                        "encoder": Positions(batch.source_real_BS),
                        "decoder": Positions(batch.target_real_BT),
                    },
                )
                trained.model(batch, None if masks is None else masks(batch))
    return statistics


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("masked", [False, True])
def test_replicas_count_what_repeated_sentences_would(
    make_trained, make_table, make_atlas, unit, masked
):
    trained, table, rule = make_trained(), make_table(7), CountRule(unit)
    trained.atlas = make_atlas(trained.model) if masked else None
    weights = poisson_weights(DIRECTION, 7, replicas=4, seed=3)
    counts = weighted_counts(trained, DIRECTION, table, weights, rule=rule, tokens=20)
    for replica, weights_N in enumerate(weights):
        slow = read_again_and_again(trained, table, weights_N, rule)
        for site in trained.model.sites:
            assert torch.equal(counts.active[site.name][replica], slow.active[site.name][0])
            sets = replica_sets(counts, site, 70.0)
            atlas = cumulative(slow, lambda task, site: 70.0)
            assert torch.equal(sets[replica], atlas.mask(str(DIRECTION), site))


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("tokens", [8, 30, 1000])
def test_weights_of_one_give_the_plain_statistics(make_trained, make_table, unit, tokens):
    trained, table, rule = make_trained(), make_table(11), CountRule(unit)
    ones = torch.ones(1, 11, dtype=torch.int64)
    counts = weighted_counts(trained, DIRECTION, table, ones, rule=rule, tokens=tokens)
    plain = read_again_and_again(trained, table, ones[0], rule)
    for site in trained.model.sites:
        assert counts.active[site.name].dtype == torch.int64
        assert torch.equal(counts.active[site.name], plain.active[site.name])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from(UNITS))
def test_a_batch_is_counted_exactly_whatever_the_weights(sentences, positions, seed, unit):
    site, generator = Site("encoder", 0, 4), torch.Generator().manual_seed(seed)
    activation = torch.randn(sentences, positions, 4, generator=generator).relu()
    real = torch.rand(sentences, positions, generator=generator) < 0.7
    weights = torch.randint(0, 2**30, (3, 9), generator=generator)
    rows = torch.randperm(9, generator=generator)[:sentences]
    counts = WeightedCounts([site], weights, rule=CountRule(unit))
    counts.update(site.name, activation, task_C=rows, real_BS=real)
    for replica in range(3):
        for neuron in range(4):
            expected = 0
            for place, row in enumerate(rows.tolist()):
                fired = sum(
                    float(activation[place, p, neuron]) > 0 and bool(real[place, p])
                    for p in range(positions)
                )
                times = fired if unit == "token" else int(fired > 0)
                expected += int(weights[replica, row]) * times
            assert counts.active[site.name][replica, neuron].item() == expected


def test_streams_of_directions_are_their_own_and_the_same_every_time():
    one, other = (poisson_weights(Direction("en", c), 50, replicas=6, seed=1) for c in ("de", "fr"))
    assert not torch.equal(one, other)
    assert torch.equal(one, poisson_weights(Direction("en", "de"), 50, replicas=6, seed=1))
    assert one.double().mean().item() == pytest.approx(1, abs=0.2)


def test_halves_are_compared_with_each_other_and_replicas_with_the_whole(make_trained, make_table):
    trained, table = make_trained(), make_table(12)
    first = np.arange(12) % 3 == 0
    drawn = poisson_weights(DIRECTION, 12, replicas=5, seed=0)
    weights = weights_of(first, drawn)
    counts = weighted_counts(trained, DIRECTION, table, weights, rule=CountRule(), tokens=50)
    half = torch.from_numpy(first).long()
    for site in trained.model.sites:
        found = overlaps(counts, site, 60.0, weights)

        def chosen(weights_N, site=site):
            statistics = read_again_and_again(trained, table, weights_N, CountRule())
            atlas = cumulative(statistics, lambda task, site: 60.0)
            return set(atlas.mask(str(DIRECTION), site).nonzero()[:, 0].tolist())

        def iou(left, right):
            return len(left & right) / len(left | right)

        whole = chosen(torch.ones_like(half))
        assert found.halves == pytest.approx(iou(chosen(half), chosen(1 - half)))
        expected = [iou(chosen(each), whole) for each in drawn]
        assert found.replicas_R.tolist() == pytest.approx(expected)


def test_an_empty_half_has_no_overlap(make_trained, make_table):
    trained, table = make_trained(), make_table(4)
    weights = weights_of(np.ones(4, dtype=bool), poisson_weights(DIRECTION, 4, replicas=2, seed=0))
    counts = weighted_counts(trained, DIRECTION, table, weights, rule=CountRule(), tokens=50)
    assert overlaps(counts, trained.model.sites[0], 60.0, weights).halves is None


def test_stability_leaves_the_model_alone_and_covers_every_direction(
    make_trained, make_table, directions, bits
):
    trained = make_trained()
    before = copy.deepcopy(bits(trained.model))
    tables = {each: make_table(8, seed=row) for row, each in enumerate(directions)}
    found = stability(
        trained,
        tables,
        {each: np.linspace(0, 0.99, 8) for each in directions},
        {"60": lambda task, site: 60.0, "100": lambda task, site: 100.0},
        StabilitySettings(replicas=4),
        rule=CountRule(),
        tokens=40,
    )
    assert bits(trained.model) == before
    assert not any(module._forward_pre_hooks for module in trained.model.modules())
    for of_site in found.values():
        assert list(of_site) == [site.name for site in trained.model.sites]
        for entry in of_site.values():
            assert set(entry["directions"]) == set(map(str, directions))
            means = [each["replicas"]["mean"] for each in entry["directions"].values()]
            assert entry["replicas"]["mean"] == pytest.approx(sum(means) / len(means))
            assert entry["replicas"]["low"] <= entry["replicas"]["high"]
