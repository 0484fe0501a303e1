"""The claims of a reproduction, single runs and directions, against values worked out by hand."""

import math

import pytest
from made_results import (
    DIRECTIONS,
    NS,
    RANDOM,
    named,
    notes,
    outcome,
    result,
    rows,
    variance_of_swing,
)

from nsmt.evaluation.seeds import t_quantile
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.reporting.interval_tables import bootstrap_table, claims_table, direction_gains_table
from nsmt.reporting.reproduction import Absence

METRICS = ["bleu", "chrf++", "nll"]
OVER_CONTROL = f"{LABELS[NS]} − {LABELS[CONTROL]}"
OVER_RANDOM = f"{LABELS[NS]} − {LABELS[RANDOM]}"


def claim(table, difference, metric="BLEU", group="All"):
    (found,) = [
        row
        for row in rows(table)
        if (row["Difference of"], row["Metric"], row["Directions"]) == (difference, metric, group)
    ]
    return found


def half_width(of_seeds, of_sentences, freedom):
    whole = of_seeds + of_sentences
    return t_quantile(0.95, math.floor(freedom * (whole / of_seeds) ** 2)) * math.sqrt(whole)


def test_claims_have_both_bounds_and_both_verdicts():
    table = claims_table(result(RANDOM, NS, seeds=(1, 2, 3)), METRICS)
    # 0.6, 0.7 and 0.8 over the control, on sentences that swing by 0.2.
    found = claim(table, OVER_CONTROL)
    half = half_width(0.01 / 3, variance_of_swing(0.2), 2)
    assert (found["Seeds"], found["Difference"]) == ("3", "+0.70")
    assert (found["95 %: from"], found["to"]) == (f"{0.7 - half:+.2f}", f"{0.7 + half:+.2f}")
    assert found["Smallest visible"] == f"{half:.2f}"
    assert (found["Better?"], found["Not worse than by the margin?"]) == ("holds", "holds")
    assert "above minus 0.5 BLEU; not asked of random neurons" in notes(table)


def test_random_masks_are_paired_by_seed_and_sentence_although_other_runs_trained_them():
    table = claims_table(result(RANDOM, NS, seeds=(1, 2, 3)), METRICS)
    # Both swing together: 0.2 - 0.1.
    half = half_width(0.01 / 3, variance_of_swing(0.1), 2)
    found = claim(table, OVER_RANDOM)
    assert found["Difference"] == "+1.20"
    assert found["95 %: from"] == f"{1.2 - half:+.2f}"
    assert (found["Better?"], found["Not worse than by the margin?"]) == ("holds", "–")


def test_the_papers_baselines_are_claimed_over_where_their_rows_are():
    # In another order than that of the claims.
    found = result("adapter_pair", RANDOM, "lass", NS, seeds=(1, 2, 3))
    table = claims_table(found, METRICS)
    over = [f"{LABELS[NS]} − {LABELS[n]}" for n in (CONTROL, RANDOM, "lass", "adapter_pair")]
    assert list(dict.fromkeys(row["Difference of"] for row in rows(table))) == over
    # 0.1, 0.2 and 0.3 above LaSS, whose scores do not swing.
    half = half_width(0.01 / 3, variance_of_swing(0.2), 2)
    lass = claim(table, over[2])
    assert (lass["Difference"], lass["95 %: from"]) == ("+0.20", f"{0.2 - half:+.2f}")
    assert (lass["Better?"], lass["Not worse than by the margin?"]) == ("undecided", "holds")
    adapters = claim(table, over[3])
    assert (adapters["Difference"], adapters["Better?"]) == ("-1.80", "does not hold")
    assert adapters["Not worse than by the margin?"] == "does not hold"
    assert claim(table, over[3], "nll ↓", "M2O")["Better?"] == "does not hold"


def test_lower_likelihoods_are_better_and_sides_are_told_apart():
    table = claims_table(result(RANDOM, NS, seeds=(1, 2, 3)), METRICS)
    found = claim(table, OVER_CONTROL, "nll ↓", "O2M")
    assert found["Difference"] == "-0.0070"
    assert found["Better?"] == "holds"
    assert found["Not worse than by the margin?"] == "–"
    groups = [row["Directions"] for row in rows(table)]
    assert groups == ["All", "O2M", "M2O"] * 6


@pytest.mark.parametrize(
    "found",
    [result(NS, seeds=(1,)), result(NS), result(NS, seeds=(1, 2, 3), resampled=False)],
)
def test_without_three_seeds_and_both_variances_nothing_is_decided(found):
    row = claim(claims_table(found, METRICS), OVER_CONTROL)
    assert (row["Better?"], row["Not worse than by the margin?"]) == ("undecided", "undecided")


def test_what_is_missing_is_undecided_and_named():
    table = claims_table(result(NS, absent=[Absence(RANDOM, 1, "killed")]), METRICS)
    row = claim(table, OVER_RANDOM)
    assert (row["Seeds"], row["Difference"], row["Better?"]) == ("0", "–", "undecided")
    assert "missing: random neurons, seed 1: killed" in table.notes


def test_single_runs_show_their_intervals_over_sentences():
    table = bootstrap_table(result(NS), "bleu", title="t")
    assert list(table.columns)[:5] == ["System", "Seed", "All", "O2M", "M2O"]
    assert named(table, NS, Seed="1")["All"] == "+0.60 [+0.40, +0.80]*"
    assert named(table, DENSE, Seed="2")["All"] == "-1.00 [-1.00, -1.00]*"
    assert any("over sentences" in note and "0.20" in note for note in table.notes)


def test_every_direction_has_its_difference_over_seeds_and_of_each():
    table = direction_gains_table(result(NS), "bleu", title="t")
    assert len(table.rows) == len(DIRECTIONS) * 2
    found = named(table, NS, Direction="nl-en")
    assert found["seed 2"] == "+0.70 [+0.50, +0.90]*"
    assert found["over seeds"].startswith("+0.65 [")
    assert "Smallest visible difference to continue-dense, of a direction" in notes(table)


def test_a_run_without_resamples_has_no_interval_of_its_own():
    found = outcome(NS, 1, resampled=False)
    assert found.resamples is None
    assert bootstrap_table(result(NS, resampled=False), "bleu", title="t").rows == []
