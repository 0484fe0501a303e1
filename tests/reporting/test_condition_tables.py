"""Gains under several conditions, against values worked out by hand."""

import math
import re

import pytest
from made_results import NS, RANDOM, named, notes, result, rows, variance_of_swing

from nsmt.evaluation.seeds import t_quantile
from nsmt.methods import LABELS
from nsmt.reporting.condition_tables import conditions_table, gain_curves
from nsmt.reporting.reproduction import Absence


def test_conditions_are_rows_with_their_own_control():
    conditions = {"k-70": result(NS), "k-90": result(NS, seeds=(1,), absent=[Absence(NS, 2, "no")])}
    table = conditions_table(conditions, "bleu", title="t")
    first, second = rows(table)
    assert (first["Condition"], first["Seeds"], first["control BLEU"]) == (
        *("k-70", "2", "24.50 ± 0.71"),
    )
    assert first["gain O2M"].startswith("+0.65 [")
    assert first["runs with p < 0.05"] == "2 above, 0 below of 2"
    # Its only seed has the variance of the other row.
    assert (second["Seeds"], second["gain All"][:6]) == ("1", "+0.60 ")
    assert f"k-90: missing: {LABELS[NS]}, seed 2: no" in table.notes


def test_two_seeds_have_the_variance_of_all_rows():
    conditions = {"a": result(NS, RANDOM), "b": result(NS)}
    table = conditions_table(conditions, "bleu", title="t")
    # Deviations of 0.005, 0 and 0.005; two rows share a control: 3 / (2 x 1.25 + 1) x 3.
    pool, freedom = (0.005 + 0 + 0.005) / 3, 9 / (2 * 1.25 + 1)
    of_seeds, of_sentences = pool / 2, variance_of_swing(0.2)
    whole = of_seeds + of_sentences
    quantile = t_quantile(0.95, math.floor(freedom * (whole / of_seeds) ** 2))
    half = quantile * math.sqrt(whole)
    ends = f"[{0.65 - half:+.2f}, {0.65 + half:+.2f}]"
    assert named(table, NS, Condition="a")["gain All"] == f"+0.65 {ends}*"
    assert f"{freedom:.1f} degrees of freedom" in notes(table)
    assert "Smallest visible difference" in notes(table)
    alone = conditions_table(conditions, "bleu", title="t", one_control=("a", "b"))
    assert "2.0 degrees of freedom" in notes(alone)
    some = conditions_table(
        conditions | {"c": result(NS)}, "bleu", title="t", one_control=("a", "b")
    )
    # Three rows with one control, 3 x 1.5, and one with its own.
    assert f"{16 / 5.5:.1f} degrees of freedom" in notes(some)


def test_what_could_be_seen_is_said_of_the_rows_that_are_shown():
    # The dense model's difference swings more, and has no row.
    table = conditions_table({"a": result(NS)}, "bleu", title="t")
    low, high = map(float, re.findall(r"[+-][\d.]+", rows(table)[0]["gain All"])[1:])
    assert f"BLEU {(high - low) / 2:.2f}." in notes(table)


@pytest.mark.parametrize(("updates", "said"), [({}, True), ({NS: 80}, False)])
def test_equal_updates_are_said_only_where_they_are_equal(updates, said):
    table = conditions_table({"a": result(NS, updates=updates)}, "bleu", title="t")
    assert ("at equal updates" in notes(table)) is said
    assert f"{LABELS[NS]} {updates.get(NS, 100)}" in notes(table)


def test_gains_are_drawn_at_the_places_of_their_conditions():
    conditions = {"b": result(NS, seeds=(2, 4)), "a": result(NS, seeds=(1,))}
    found = gain_curves(conditions, {"a": "70", "b": "100"}, "bleu")
    curve = found.curves[LABELS[NS]]
    assert found.values == ["70", "100"]
    assert curve.places == [0, 1]
    assert curve.means == pytest.approx([0.6, 0.8])
    assert curve.deviations == pytest.approx([0.0, math.sqrt(2) / 10])
