"""The table of unseen directions from made-up results, against values worked out by hand."""

import math
from dataclasses import replace

from made_results import BILINGUAL, DIRECTIONS, HALF, NS, named, notes, result, variance_of_swing

from nsmt.evaluation.seeds import t_quantile
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.unseen_tables import Unseen, unseen_tables


def unseen(*methods, directions=DIRECTIONS, references=4.5, left_out=("de-fr",), **more):
    return Unseen(result(*methods, **more), tuple(directions), left_out, references)


def test_every_metric_has_mean_deviation_and_the_difference_to_continue_dense():
    table = unseen_tables(unseen(NS, seeds=(1, 2, 3)))["zero_shot"]
    assert table.columns[:4] == ["System", "Seeds", "BLEU", "Δ BLEU"]
    # 22 over all directions, 1.5 above the dense model, and 1.1 a seed.
    row = named(table, NS)
    assert (row["Seeds"], row["BLEU"]) == ("3", "25.70 ± 1.10")
    assert row["chrF++"] == "51.40 ± 2.20"
    of_seeds, of_sentences = 0.01 / 3, variance_of_swing(0.2)
    freedom = math.floor(2 * ((of_seeds + of_sentences) / of_seeds) ** 2)
    half = t_quantile(0.95, freedom) * math.sqrt(of_seeds + of_sentences)
    assert row["Δ BLEU"] == f"+0.70 [{0.7 - half:+.2f}, {0.7 + half:+.2f}]*"
    assert named(table, DENSE)["Δ BLEU"].startswith("-1.00 [")
    assert named(table, CONTROL)["Δ BLEU"] == "–"
    seen = "Smallest visible difference to continue-dense, Zero-shot"
    assert f"{seen} ({HALF}): BLEU 0.00 to {half:.2f}." in table.notes


def test_means_are_over_the_directions_that_no_system_saw():
    table = unseen_tables(unseen(NS, directions=DIRECTIONS[:1]))["zero_shot"]
    assert named(table, DENSE)["BLEU"] == "31.50 ± 0.71"
    assert "1 directions" in table.title


def test_what_the_references_get_and_what_is_left_out_stand_below():
    told = notes(unseen_tables(unseen(NS))["zero_shot"])
    assert "Of the references, 4.50 % are taken for another language" in told
    assert "Left out, having too few sentences: de-fr." in told
    told = notes(unseen_tables(unseen(NS, references=None, left_out=()))["zero_shot"])
    assert "references" not in told
    assert "Left out" not in told


def test_languages_that_were_not_identified_are_named_with_what_rates_are_over():
    found = replace(unseen(NS), unidentified=("ar",))
    assert set(found.having("off-target")) == {d for d in DIRECTIONS if d.target != "ar"}
    assert found.having("bleu") == found.directions
    told = notes(unseen_tables(found)["zero_shot"])
    assert "does not know ar" in told
    assert "over the other 5 of 6 directions" in told
    assert "does not know" not in notes(unseen_tables(unseen(NS))["zero_shot"])


def test_single_runs_and_directions_have_tables_of_their_own():
    tables = unseen_tables(unseen(NS, BILINGUAL))
    assert {"zero_shot-bootstrap", "zero_shot-chrfpp-directions"} <= tables.keys()
    assert list(tables["zero_shot-bootstrap"].columns) == ["System", "Seed", "Zero-shot"]
