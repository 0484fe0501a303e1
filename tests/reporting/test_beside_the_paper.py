"""Published numbers beside ours, Tables 4 and 11, against values worked out by hand."""

from dataclasses import replace

import pytest
from made_results import BILINGUAL, NS, RANDOM, named, notes, result, rows

from nsmt.evaluation.paper import paper
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.reporting.interference_tables import gaps, table4
from nsmt.reporting.published_tables import beside_table, group_score_table


def row(table, heading, whose, after=0):
    """Of the rows below a heading, the one of that owner."""
    found = rows(table)
    start = [each["Row"] for each in found].index(heading, after)
    return next(each for each in found[start:] if each["Whose"] == whose)


def test_published_rows_carry_their_firmness_and_the_difference():
    table = beside_table(result(RANDOM, NS, seeds=(1, 3)), "bleu")
    found = rows(table)
    # Of another corpus, absolute scores are not set beside the paper's.
    assert [each["Row"] for each in found if each["Row"]] == [
        *("continue-dense, Δ to mT-big", "Random, Δ to mT-big"),
        "Neuron Specialization, Δ to mT-big",
    ]
    random, ours = (f"{name}, Δ to mT-big" for name in ("Random", "Neuron Specialization"))
    assert row(table, random, "paper")["All Avg"] == "-0.2†"
    assert row(table, random, "here")["All Avg"] == "+0.5 ± 0.0"
    assert row(table, random, "here − paper")["All Avg"] == "+0.7"
    assert row(table, ours, "paper")["High O2M"] == "+1.8‡"
    assert row(table, ours, "here")["High O2M"] == "+1.7 ± 0.1"
    assert row(table, ours, "here − paper")["High O2M"] == "-0.1"
    assert row(table, ours, "here")["Med O2M"] == "–"
    assert "†: recalled" in notes(table)
    assert "‡: arithmetic" in notes(table)
    assert "Corpus and model are not the paper's" in notes(table)


def test_the_control_is_beside_every_published_gain():
    table = beside_table(result(RANDOM, NS, seeds=(1, 3)), "bleu")
    assert rows(table)[0]["Row"] == "continue-dense, Δ to mT-big"
    assert rows(table)[0]["All Avg"] == "+1.0 ± 0.0"
    over = row(table, "Neuron Specialization, Δ to mT-big", "here, Δ to continue-dense")
    assert over["All Avg"] == "+0.7 ± 0.1"
    for baseline in (DENSE, CONTROL):
        assert f"Smallest visible difference to {LABELS[baseline]}, All Avg" in notes(table)


def test_at_the_papers_own_scale_absolute_scores_are_compared_too():
    table = beside_table(result(NS, of_paper=True), "bleu")
    assert [each["Row"] for each in rows(table) if each["Row"]] == [
        *("continue-dense", "continue-dense, Δ to mT-big"),
        *("mT-big", "Neuron Specialization", "Neuron Specialization, Δ to mT-big"),
    ]
    assert row(table, "continue-dense", "here")["All Avg"] == "24.5 ± 0.7"
    shown = [row(table, "mT-big", whose) for whose in ("paper", "here", "here − paper")]
    assert [each["All Avg"] for each in shown] == ["27.6", "23.5 ± 0.7", "-4.1"]


def test_table_11_rounds_before_it_averages_and_has_the_papers_metrics():
    table = group_score_table(result(NS, of_paper=True))
    systems = [LABELS[name] for name in (DENSE, CONTROL, NS)]
    theirs = [f"{n}, {w}" for n in ("mT-big", "Neuron Specialization") for w in WHOSE]
    gains = [f"{LABELS[name]}, Δ to continue-dense" for name in (DENSE, NS)]
    gains += [f"{LABELS[NS]}, Δ to dense", PUBLISHED]
    shown = (*theirs, *systems, *gains)
    assert [(each["Metric"], each["System"]) for each in rows(table)] == [
        *((metric, system) for metric in ("BLEU", "chrF++") for system in shown),
        *(("COMET", system) for system in theirs),
    ]
    assert named(table, DENSE, Metric="chrF++")["Low Avg"] == "37.0 ± 1.4"
    assert named(table, "mT-big, paper", Metric="BLEU")["Low Avg"] == "22.4"
    assert named(table, "mT-big, here − paper", Metric="BLEU")["Low Avg"] == "-3.9"
    assert named(table, "mT-big, paper", Metric="COMET")["All Avg"] == "0.791"
    assert "COMET: not scored here" in notes(table)


def test_table_11_tests_differences_and_elsewhere_has_the_papers_difference_alone():
    table = group_score_table(result(NS, seeds=(1, 2, 3)))
    paper_rows = [each["System"] for each in rows(table) if "paper" in each["System"]]
    assert paper_rows == [PUBLISHED] * 2
    over = f"{LABELS[NS]}, Δ to continue-dense"
    # 0.6, 0.7 and 0.8 in every direction, and twice that in chrF++.
    assert named(table, over, Metric="BLEU")["All Avg"] == "+0.70 ± 0.10*"
    assert named(table, over, Metric="chrF++")["Low O2M"] == "+1.40 ± 0.20*"
    assert named(table, over, Metric="BLEU")["Seeds"] == "3"
    assert named(table, f"{LABELS[NS]}, Δ to dense", Metric="BLEU")["All Avg"] == "+1.70 ± 0.10*"
    assert named(table, PUBLISHED, Metric="BLEU")["High O2M"] == "+1.8‡"
    assert "paired by seed and sentence" in notes(table)
    assert "Corpus and model are not the paper's" in notes(table)


WHOSE = ("paper", "here − paper")
PUBLISHED = "Neuron Specialization, Δ to mT-big, paper"


def with_comet(found):
    """Every system scores 0.8 in all directions, and specialisation 0.81."""

    def scored(system):
        value = 0.81 if system.name == NS else 0.8
        scores = {d: {**of, "comet": value} for d, of in system.scores.items()}
        return replace(system, scores=scores, signatures={**system.signatures, "comet": "m"})

    def compared(comparison):
        return replace(comparison, systems=tuple(map(scored, comparison.systems)))

    outcomes = [
        replace(o, against={name: compared(c) for name, c in o.against.items()})
        for o in found.outcomes
    ]
    return replace(found, outcomes=tuple(outcomes))


def test_every_published_metric_is_beside_the_paper_in_its_own_decimals():
    table = beside_table(result(NS), "chrf++")
    assert table.title == "Table 2: chrF++ beside the paper"
    ours = "Neuron Specialization, Δ to mT-big"
    assert row(table, ours, "paper")["High O2M"] == "+1.4‡"
    assert row(table, ours, "here")["High O2M"] == "+3.3 ± 0.1"
    table = beside_table(with_comet(result(NS)), "comet")
    assert row(table, ours, "paper")["High O2M"] == "+0.013‡"
    assert row(table, ours, "here")["High O2M"] == "+0.010 ± 0.000"
    assert row(table, ours, "here − paper")["High O2M"] == "-0.003"


def test_table_11_shows_comet_of_runs_that_were_scored_with_it():
    table = group_score_table(with_comet(result(NS, of_paper=True)))
    assert named(table, NS, Metric="COMET")["Low O2M"] == "0.810 ± 0.000"
    over = named(table, f"{LABELS[NS]}, Δ to continue-dense", Metric="COMET")
    assert over["Low O2M"] == "+0.0100 ± 0.0000*"
    assert named(table, PUBLISHED, Metric="COMET")["All O2M"] == "+0.010‡"
    assert named(table, "mT-big, here − paper", Metric="COMET")["All Avg"] == "+0.009"
    assert "not scored" not in notes(table)


def test_table_4_sets_systems_beside_bilingual_models():
    found = result("bilingual", NS)
    table = table4(found, "bleu")["table4"]
    # By tier, then as tables have them.
    assert list(table.columns) == ["Block", "System", "Seeds", "de", "nl", "ar"]
    assert named(table, BILINGUAL, Block="O2M")["de"] == "29.50 ± 0.71"
    assert named(table, f"{LABELS[DENSE]}, Δ", Block="O2M")["de"] == "+2.00 ± 0.00*"
    assert named(table, f"{LABELS[NS]}, Δ", Block="M2O")["ar"] == "+3.65 ± 0.07*"
    points = gaps(found, "bleu")
    assert [point.language for point in points["O2M"]] == ["de", "nl", "ar"]
    point = points["M2O"][0]
    assert (point.gap.mean, point.gain.mean) == pytest.approx((2.0, 0.65))
    assert point.gain.deviation == pytest.approx(0.1 / 2**0.5)


def test_table_4_begins_with_the_languages_of_most_text():
    found = result(BILINGUAL, NS, tiers={"de": "Med", "nl": "Low", "ar": "High"})
    assert list(table4(found, "bleu")["table4"].columns)[3:] == ["ar", "de", "nl"]


def test_a_point_is_over_the_seeds_that_have_all_its_models():
    found = result(BILINGUAL, NS, seeds=(1, 2, 3))
    kept = [o for o in found.outcomes if (o.method, o.seed) != (BILINGUAL, 3)]
    point = gaps(replace(found, outcomes=tuple(kept)), "bleu")["O2M"][0]
    assert (point.gap.seeds, point.gain.seeds) == (2, 2)
    assert point.gain.mean == pytest.approx(0.65)


def test_single_runs_are_set_beside_their_bilingual_models():
    tables = table4(result(BILINGUAL, NS), "bleu")
    table = tables["table4-bootstrap"]
    assert list(table.columns)[:3] == ["System", "Seed", "de O2M"]
    assert named(table, NS, Seed="1")["ar M2O"] == "+3.60 [+3.40, +3.80]*"
    for each in tables.values():
        assert "Smallest visible difference" in notes(each)


def test_the_papers_table_4_is_unconfirmed_as_a_whole():
    table = table4(result("bilingual", NS, of_paper=True), "bleu")["table4"]
    assert list(table.columns)[3:] == ["de", "ar"]
    assert named(table, "Bilingual, paper", Block="O2M")["ar"] == "23.7†"
    assert named(table, "mT-big, Δ, paper", Block="O2M")["de"] == "-4.7†"
    assert named(table, "Neuron Specialization, Δ, paper", Block="O2M")["ar"] == "-3.0†"
    # 2 above our bilingual model, where the paper has -4.7.
    beyond = named(table, "mT-big, Δ, here − paper", Block="O2M")
    assert beyond["de"] == "+6.7"
    assert not [row for row in rows(table) if row["Block"] == "M2O" and "paper" in row["System"]]
    assert paper().not_recovered["table4"] in table.notes


def test_table_4_has_every_metric_and_the_papers_rows_in_its_own_alone():
    tables = table4(result("bilingual", NS, of_paper=True), "nll")
    assert list(tables) == ["table4-nll", "table4-nll-bootstrap"]
    table = tables["table4-nll"]
    assert table.title == "Table 4: interference, nll ↓"
    assert named(table, f"{LABELS[DENSE]}, Δ", Block="O2M")["de"] == "-0.0200 ± 0.0000*"
    assert not [each for each in rows(table) if "paper" in each["System"]]
    assert paper().not_recovered["table4"] not in table.notes


def test_without_bilingual_models_nothing_is_a_difference_to_them():
    table = table4(result(NS), "bleu")["table4"]
    assert {row["de"] for row in rows(table)} == {"–"}
    assert any("method=bilingual" in note for note in table.notes)
    assert gaps(result(NS), "bleu") == {"O2M": [], "M2O": []}
