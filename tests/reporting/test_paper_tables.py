"""The paper's Tables 1 and 2 from made-up results, against values worked out by hand."""

import math
from dataclasses import replace

from made_results import (
    DIRECTIONS,
    HALF,
    NS,
    RANDOM,
    TIERS,
    languages,
    named,
    notes,
    result,
    rows,
    variance_of_swing,
)

from nsmt.evaluation.seeds import t_quantile
from nsmt.methods import BILINGUAL, CONTROL, DENSE, LABELS
from nsmt.reporting.paper_tables import Column, score_tables, table1, table2
from nsmt.reporting.reproduction import Absence, Reproduction, Trained
from nsmt.reporting.table_notes import updates_notes


def test_table_2_has_tiers_by_side_then_all_and_the_control_second():
    table = table2(result(RANDOM, NS), "bleu")["table2"]
    assert list(table.columns) == [
        *(
            "System",
            "Δθ",
            "Seeds",
            "High O2M",
            "High M2O",
            "High Avg",
            "Low O2M",
            "Low M2O",
            "Low Avg",
        ),
        *("All O2M", "All M2O", "All Avg"),
    ]
    assert [row["System"] for row in rows(table)] == [
        LABELS[name] for name in (DENSE, CONTROL, RANDOM, NS)
    ]


def test_scores_are_means_over_directions_then_over_seeds_with_their_deviation():
    table = table2(result(NS), "bleu")["table2"]
    # en-de of the dense model: 31 and 32.
    assert named(table, DENSE)["High O2M"] == "31.50 ± 0.71"
    # All ways of the dense model: 22 and its seeds.
    assert named(table, DENSE)["All Avg"] == "23.50 ± 0.71"
    # The method: 20 + 1.5 + 1.1 and 20 + 1.5 + 2.2 out of English.
    assert named(table, NS)["All O2M"] == f"{20 + 1.5 + 1.65:.2f} ± {1.1 / math.sqrt(2):.2f}"


def test_gains_are_taken_in_each_run_against_both_baselines():
    tables = table2(result(NS, seeds=(1, 2, 3), resampled=False), "bleu")
    # Gains over the control are 0.6, 0.7 and 0.8: t = 0.7 / (0.1 / sqrt(3)) = 12.1.
    gain = named(tables["table2-gains"], NS)
    assert gain["All Avg"] == gain["High O2M"] == "+0.70 ± 0.10*"
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert gain["All Avg, 95 %"] == f"+0.70 [{0.7 - half:+.2f}, {0.7 + half:+.2f}]*"
    assert gain["All Avg, exact p"] == "0.250"
    assert named(tables["table2-gains"], DENSE)["Low M2O"] == "-1.00 ± 0.00*"
    assert named(tables["table2-gains-dense"], NS)["All Avg"] == "+1.70 ± 0.10*"
    assert named(tables["table2-gains-dense"], CONTROL)["All Avg"] == "+1.00 ± 0.00*"
    assert "longer training" in notes(tables["table2-gains-dense"])
    assert "the variation of runs alone" in notes(tables["table2-gains"])
    seen = "Smallest visible difference to continue-dense, All Avg"
    assert f"{seen} ({HALF}): BLEU 0.00 to {half:.2f}." in tables["table2-gains"].notes
    assert f"{seen} ({HALF}): BLEU 0.00 to {half:.2f}." in tables["table2"].notes


def test_intervals_of_gains_have_seeds_and_sentences():
    tables = table2(result(NS, seeds=(1, 2, 3)), "bleu")
    of_seeds, of_sentences = 0.01 / 3, variance_of_swing(0.2)
    freedom = 2 * ((of_seeds + of_sentences) / of_seeds) ** 2
    half = t_quantile(0.95, math.floor(freedom)) * math.sqrt(of_seeds + of_sentences)
    gain = named(tables["table2-gains"], NS)
    assert gain["All Avg, 95 %"] == f"+0.70 [{0.7 - half:+.2f}, {0.7 + half:+.2f}]*"
    assert "between training runs and that between test sentences" in notes(tables["table2-gains"])


def test_resamples_of_another_draw_pair_with_nothing():
    found = result(NS, RANDOM)
    assert found.tested(NS, RANDOM, "bleu", DIRECTIONS).sentences
    strange = [
        replace(o, resamples=replace(o.resamples, drawn="another")) if o.method == RANDOM else o
        for o in found.outcomes
    ]
    mixed = replace(found, outcomes=tuple(strange))
    assert not mixed.tested(NS, RANDOM, "bleu", DIRECTIONS).sentences
    assert mixed.bootstrap(NS, 1, RANDOM, "bleu", DIRECTIONS) is None
    assert mixed.tested(NS, CONTROL, "bleu", DIRECTIONS).sentences


def test_one_seed_has_no_deviation_and_no_test_and_tells_what_sentences_alone_show():
    tables = table2(result(NS, seeds=(4,)), "bleu")
    assert named(tables["table2"], DENSE)["All Avg"] == "26.00"
    gain = named(tables["table2-gains"], NS)
    assert gain["All Avg"] == gain["All Avg, 95 %"] == "+0.90"
    assert gain["All Avg, exact p"] == "–"
    assert "over sentences alone" in notes(tables["table2-gains"])
    assert "BLEU 0.00 to 0.20." in notes(tables["table2-gains"])


def test_parameters_beyond_the_dense_model_stand_beside_the_seeds():
    table = table2(result(BILINGUAL, NS), "bleu")["table2"]
    assert named(table, CONTROL)["Δθ"] == named(table, NS)["Δθ"] == "0 %"
    assert named(table, LABELS[BILINGUAL])["Δθ"] == "+500 %"


def test_updates_of_every_row_are_told():
    found = result(NS, updates={NS: 80})
    table = table2(found, "bleu")["table2-gains"]
    told = "Updates after the dense model (100), of each model: continue-dense 100; "
    assert f"{told}{LABELS[NS]} 80." in table.notes


def test_models_that_a_method_trains_of_single_directions_are_told_with_their_updates():
    found = result(BILINGUAL, "lass", updates={BILINGUAL: 400})
    tuned = [
        replace(each, trained=each.trained | {"lass": Trained(1000, (100,), tuning=(50, 60))})
        if each.method == "lass"
        else each
        for each in found.outcomes
    ]
    (note,) = updates_notes(replace(found, outcomes=tuple(tuned)))
    assert "; bilingual models 400 from random weights; " in note
    assert note.endswith("; LaSS 100, and 50 and 60 for each direction to find its masks.")


def test_a_corpus_without_tiers_has_families_and_all():
    table = table2(result(NS, tiers={}), "bleu")["table2"]
    columns = ["Germanic", "Afro-Asiatic", "All O2M", "All M2O", "All Avg"]
    assert list(table.columns) == ["System", "Δθ", "Seeds", *columns]
    # de and nl, both ways: (30 + 34 + 20 + 24) / 4.
    assert named(table, DENSE)["Germanic"] == "28.50 ± 0.71"


def test_missing_rows_and_seeds_are_named_with_their_reasons():
    absent = [
        Absence("lass", 1, "failed: no memory"),
        Absence("lass", 2, "failed: no memory"),
        Absence(NS, 3, "was not begun"),
    ]
    tables = table2(result(NS, absent=absent), "bleu")
    for table in tables.values():
        assert "missing: LaSS, seed 1, 2: failed: no memory" in table.notes
        assert f"missing: {LABELS[NS]}, seed 3: was not begun" in table.notes
    assert named(tables["table2"], "LaSS")["All Avg"] == "–"
    assert named(tables["table2"], "LaSS")["Seeds"] == "0"
    assert named(tables["table2-gains"], "LaSS")["All Avg, 95 %"] == "–"
    assert named(tables["table2"], NS)["Seeds"] == "2"


def test_without_its_base_run_a_seed_has_the_baselines_of_another():
    found = result(NS)
    kept = tuple(o for o in found.outcomes if (o.method, o.seed) != (CONTROL, 2))
    absent = (Absence(CONTROL, 2, "lost"),)
    without = Reproduction((NS,), kept, absent, LABELS, found.languages, "en")
    assert without.scores(DENSE, "bleu", DIRECTIONS) == found.scores(DENSE, "bleu", DIRECTIONS)


def test_table_1_is_by_language_in_the_papers_order_with_a_block_a_side():
    tables = table1(result(NS), "bleu")
    table = tables["table1"]
    assert list(table.columns) == [
        *("Block", "System", "Δθ", "Δθ, paper", "Seeds"),
        *("ar", "nl", "de", "Avg"),
    ]
    assert [row["Block"] for row in rows(table)] == ["O2M"] * 3 + ["M2O"] * 3
    assert named(table, DENSE, Block="M2O")["ar"] == "15.50 ± 0.71"
    assert named(table, DENSE, Block="O2M")["Avg"] == "21.50 ± 0.71"
    assert named(tables["table1-gains"], NS, Block="M2O")["nl"] == "+0.65 ± 0.07*"
    assert any("could not be recovered" in note for note in table.notes)


def test_table_1_has_the_papers_parameters_with_their_firmness():
    found = result(NS, "adapter_pair", "lass", RANDOM)
    tables = table1(found, "bleu")
    shown = {row["System"]: row["Δθ, paper"] for row in rows(tables["table1"])}
    assert shown == {
        **dict.fromkeys((LABELS[DENSE], LABELS[CONTROL], LABELS[RANDOM]), "–"),
        LABELS["adapter_pair"]: "+67 %†",
        LABELS["lass"]: "0 %†",
        LABELS[NS]: "0 %†",
    }
    assert "†: recalled, not compared with the paper's text; not a fact" in notes(tables["table1"])
    assert "Δθ, paper" not in table2(found, "bleu")["table2"].columns


def test_table_1_shows_how_much_text_a_language_has():
    sizes = {"de": 160_000, "ar": 139_000}
    scores = table1(result(NS), "bleu", sizes=sizes)["table1"]
    assert list(scores.columns)[5:] == ["ar (139,000)", "nl", "de (160,000)", "Avg"]
    assert "sentence pairs of training text with en" in notes(scores)


def test_nothing_finished_leaves_rows_of_dashes():
    empty = Reproduction((NS,), (), (Absence(NS, 1, "no"),), LABELS, languages(TIERS), "en")
    tables = score_tables(empty, "bleu", {"": [Column("All", ())]}, name="x", title="X")
    assert [[row[0], row[-1]] for row in tables["x"].rows] == [
        [LABELS[name], "–"] for name in (DENSE, CONTROL, NS)
    ]
