"""Changes, ratios and verdicts of interventions against sums written out, and what the arms are."""

import copy

import numpy as np
import pytest
import torch
from bootstraps import paired_bootstrap

from nsmt.errors import CheckpointError
from nsmt.evaluation.groups import Group
from nsmt.evaluation.significance import likelihood_statistics
from nsmt.languages import Direction
from nsmt.neurons.selection import cumulative
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.probing.interventions import (
    ARM_DENSE,
    ARM_SPECIALISED,
    DECODER_OFF,
    ENCODER_OFF,
    IDENTIFIED,
    MASKS_OFF,
    NEIGHBOUR,
    Arm,
    Changes,
    dense_arms,
    measured,
    random_name,
    ratios,
    specialised_arms,
)
from nsmt.probing.settings import InterventionSettings

OUT, INTO = Direction("en", "de"), Direction("de", "en")
SIDES = [Group("O2M", (OUT,), "side"), Group("M2O", (INTO,), "side")]
SETTINGS = InterventionSettings(k=(50.0,), random_seeds=(1, 2))


def changes_of(shifts, base=ARM_DENSE):
    """Sentences of ten tokens whose nll a token is 1, and per arm and direction something more."""
    tokens = np.full(20, 10)
    noise = np.random.default_rng(0).normal(0, 0.01, 20)
    nlls = {base: dict.fromkeys((OUT, INTO), (tokens * 1.0, tokens))}
    for name, of_direction in shifts.items():
        nlls[name] = {
            direction: (tokens * (1.0 + shift) + noise, tokens)
            for direction, shift in of_direction.items()
        }
    arms = {name: Arm(None, None if name == base else base) for name in nlls}
    rows = [str(row) for row in range(20)]
    said = {OUT: rows, INTO: rows}
    return Changes(arms, nlls, samples=50, seed=1, meanings=said), nlls


def test_a_change_is_the_paired_difference_of_the_house():
    changes, nlls = changes_of({IDENTIFIED: {OUT: 0.3, INTO: 0.1}})
    found = changes.difference([IDENTIFIED], [OUT])
    pair = [likelihood_statistics(*nlls[name][OUT]) for name in (IDENTIFIED, ARM_DENSE)]
    expected = paired_bootstrap(*pair, samples=50, seed=1)
    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    both = changes.difference([IDENTIFIED], [OUT, INTO])
    single = changes.difference([IDENTIFIED], [INTO])
    assert both.value == pytest.approx((found.value + single.value) / 2)
    # The same sentences both ways: two directions see no more than one.
    assert both.high - both.low == pytest.approx(found.high - found.low)


@pytest.mark.parametrize(
    ("identified", "draws", "holds"),
    [(0.1, (0.3, 0.5), True), (0.3, (0.3, 0.5), False), (-0.1, (0.1, 0.1), True)],
)
def test_the_penalty_bar_is_half_of_the_mean_over_draws(identified, draws, holds):
    shifts = {IDENTIFIED: {OUT: identified, INTO: identified}}
    shifts |= {random_name(s): {OUT: d, INTO: d} for s, d in enumerate(draws, 1)}
    changes, _ = changes_of(shifts)
    found, _ = ratios(changes, SIDES, (1, 2), swaps=())
    assert found.holds is holds
    assert found.value == pytest.approx(identified / np.mean(draws), abs=0.05)
    assert found.margin.value == pytest.approx(np.mean(draws) / 2 - identified, abs=0.01)


def test_random_masks_without_a_penalty_prove_nothing():
    shifts = {name: {OUT: -0.2, INTO: -0.2} for name in (random_name(1), random_name(2))}
    changes, _ = changes_of({IDENTIFIED: {OUT: -0.3, INTO: -0.3}} | shifts)
    found, _ = ratios(changes, SIDES, (1, 2), swaps=())
    assert (found.value, found.holds) == (None, False)


@pytest.mark.parametrize(
    ("out", "into", "holds", "known"),
    [
        (0.5, 0.02, True, True),
        (0.1, 0.02, False, True),
        (0.1, -0.1, True, False),
        (-0.1, -0.2, False, False),
    ],
)
def test_the_swap_bar_is_ten_times_the_harm_of_the_other_side(out, into, holds, known):
    draws = {random_name(s): {OUT: 0.1, INTO: 0.1} for s in (1, 2)}
    shifts = {NEIGHBOUR: {OUT: out, INTO: into}, IDENTIFIED: {OUT: 0.0, INTO: 0.0}}
    changes, _ = changes_of(shifts | draws)
    found = ratios(changes, SIDES, (1, 2), swaps=[NEIGHBOUR])[-1]
    assert found.holds is holds
    assert (found.value is not None) is known


@pytest.fixture
def statistics(make_trained, directions):
    model = make_trained().model
    made = ActivationStatistics([str(d) for d in directions], model.sites)
    for site in model.sites:
        made.active[site.name] = torch.randint(0, 50, made.active[site.name].shape)
    return made


def test_masks_off_are_off_in_the_stack_named(make_trained, make_atlas, languages):
    trained = make_trained()
    trained.atlas = make_atlas(trained.model)
    arms, partners = specialised_arms(trained, languages, pivot="en")
    assert arms[MASKS_OFF].trained.atlas is None
    assert arms[ARM_SPECIALISED].trained.atlas == trained.atlas
    for name, stack in ((ENCODER_OFF, "encoder"), (DECODER_OFF, "decoder")):
        for site in trained.model.sites:
            masks = arms[name].trained.atlas.masks(site)
            if site.stack == stack:
                assert masks.all()
            else:
                assert torch.equal(masks, trained.atlas.masks(site))
    assert set(partners[NEIGHBOUR]) == set(trained.directions)


def test_random_masks_have_the_sizes_of_the_identified_ones(make_trained, statistics):
    trained = make_trained()
    identified = cumulative(statistics, lambda task, site: 80.0)
    arms = dense_arms(trained, identified, statistics, SETTINGS)
    for site in trained.model.sites:
        sizes = identified.masks(site).sum(1)
        for seed in (1, 2):
            assert torch.equal(arms[random_name(seed)].trained.atlas.masks(site).sum(1), sizes)
        fewer = arms["dense, k = 50"].trained.atlas.masks(site)
        assert (fewer.sum(1) <= sizes).all()
        assert torch.equal(fewer & identified.masks(site), fewer)


def test_measuring_leaves_weights_alone_and_uses_the_masks_of_each_arm(
    make_trained, make_atlas, make_table, statistics, languages, directions, bits
):
    dense, specialised = make_trained(), make_trained(seed=1)
    specialised.atlas = make_atlas(specialised.model)
    before = copy.deepcopy([bits(each.model) for each in (dense, specialised)])
    identified = cumulative(statistics, lambda task, site: 80.0)
    arms = dense_arms(dense, identified, statistics, SETTINGS)
    arms |= specialised_arms(specialised, languages, pivot="en")[0]
    tables = {each: make_table(5, seed=row) for row, each in enumerate(directions)}
    found = measured(arms, tables, tokens=40)
    assert [bits(each.model) for each in (dense, specialised)] == before
    assert dense.atlas is None
    assert specialised.atlas is arms[ARM_SPECIALISED].trained.atlas
    sums = {name: sum(float(n.sum()) for n, _ in of.values()) for name, of in found.items()}
    assert len({round(value, 3) for value in sums.values()}) == len(sums)
    again = measured(arms, dict(reversed(tables.items())), tokens=40)
    for name, of_direction in found.items():
        for direction, (nll, _) in of_direction.items():
            np.testing.assert_allclose(nll, again[name][direction][0], rtol=1e-5)


def test_an_arm_of_a_model_that_diverged_is_named(make_trained, make_table):
    trained = make_trained()
    with torch.no_grad():
        trained.model.output.weight[3, 0] = torch.nan
    with pytest.raises(CheckpointError, match="'dense' are no numbers: its training diverged"):
        measured({ARM_DENSE: Arm(trained)}, {INTO: make_table(3)}, tokens=50)
