"""The paper's tables from made-up results, against values worked out by hand."""

import math

import pytest

from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.paper import paper
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.evaluation.significance import Difference
from nsmt.languages import Direction, LanguageSettings, LanguageTable, both_ways
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.models.settings import ModelSettings
from nsmt.reporting.condition_tables import conditions_table, gain_curves
from nsmt.reporting.efficiency_tables import Cost, format_bytes, format_seconds, table3
from nsmt.reporting.interference_tables import gaps, table4
from nsmt.reporting.paper_tables import Column, score_tables, table1, table2
from nsmt.reporting.published_tables import beside_table, group_score_table
from nsmt.reporting.reproduction import Absence, Outcome, Reproduction

NS, RANDOM = "neuron_specialization", "random"
TIERS = {"de": "High", "nl": "Low", "ar": "Low"}
# Above the dense model, by system; a seed adds 1 to everything, and its number of tenths to NS.
ABOVE = {DENSE: 0.0, CONTROL: 1.0, NS: 1.5, RANDOM: 0.5, "bilingual": -2.0}
BASE = {"en-de": 30.0, "de-en": 34.0, "en-nl": 20.0, "nl-en": 24.0, "en-ar": 10.0, "ar-en": 14.0}


def languages(tiers):
    described = {code: LanguageSettings(tier=tier) for code, tier in tiers.items()}
    return LanguageTable([*BASE_CODES, "en"], described)


BASE_CODES = ("de", "nl", "ar")
DIRECTIONS = both_ways([Direction("en", code) for code in BASE_CODES])


def score(system, seed, direction):
    return BASE[str(direction)] + ABOVE[system] + seed + (seed / 10 if system == NS else 0)


def outcome(method, seed, *, tiers):
    names = list(dict.fromkeys((DENSE, CONTROL, method)))
    systems = tuple(
        SystemResult(
            name,
            LABELS.get(name, name),
            {
                d: {"bleu": score(name, seed, d), "chrf++": 2 * score(name, seed, d), "nll": 3.0}
                for d in DIRECTIONS
            },
            {"bleu": "b", "chrf++": "c", "nll": "n"},
        )
        for name in names
    )
    groups = tuple(groups_of(DIRECTIONS, languages(tiers), pivot="en"))

    def against(baseline):
        found = {
            s.name: {
                "bleu": {
                    g.name: Difference(
                        *(s.mean("bleu", g.directions) - 20 + x for x in (0, -1, 1)), p
                    )
                    for g in groups
                }
            }
            for s, p in zip(systems, (0.5, 0.5, 0.01), strict=False)
            if s.name != baseline
        }
        sentences = dict.fromkeys(DIRECTIONS, 10)
        return Comparison(baseline, systems, groups, {}, found, sentences, 100, 1)

    return Outcome(method, seed, {CONTROL: against(CONTROL), DENSE: against(DENSE)})


def result(*methods, seeds=(1, 2), absent=(), tiers=TIERS, of_paper=False):
    outcomes = tuple(
        outcome(method, seed, tiers=tiers) for method in (CONTROL, *methods) for seed in seeds
    )
    rows = (*methods, *dict.fromkeys(each.method for each in absent if each.method not in methods))
    return Reproduction(
        tuple(row for row in rows if row != CONTROL),
        outcomes,
        tuple(absent),
        LABELS,
        languages(tiers),
        "en",
        of_paper,
    )


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def named(table, system, **more):
    label = LABELS.get(system, system)
    (found,) = [
        row
        for row in rows(table)
        if row["System"] == label and all(row[key] == value for key, value in more.items())
    ]
    return found


def test_table_2_has_tiers_by_side_then_all_and_the_control_second():
    table = table2(result(RANDOM, NS), "bleu")["table2"]
    assert list(table.columns) == [
        *("System", "Seeds", "High O2M", "High M2O", "High Avg", "Low O2M", "Low M2O", "Low Avg"),
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
    tables = table2(result(NS, seeds=(1, 2, 3)), "bleu")
    # Gains over the control are 0.6, 0.7 and 0.8: t = 0.7 / (0.1 / sqrt(3)) = 12.1.
    gain = named(tables["table2-gains"], NS)
    assert gain["All Avg"] == gain["High O2M"] == "+0.70 ± 0.10*"
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert gain["All Avg, 95 %"] == f"+0.70 [{0.7 - half:+.2f}, {0.7 + half:+.2f}]*"
    assert gain["All Avg, exact p"] == "0.250"
    assert named(tables["table2-gains"], DENSE)["Low M2O"] == "-1.00 ± 0.00*"
    assert named(tables["table2-gains-dense"], NS)["All Avg"] == "+1.70 ± 0.10*"
    assert named(tables["table2-gains-dense"], CONTROL)["All Avg"] == "+1.00 ± 0.00*"
    assert "longer training" in " ".join(tables["table2-gains-dense"].notes)
    seen = "Smallest visible difference (over seeds, All Avg; half of the interval)"
    assert f"{seen}: 0.00 to {half:.2f}." in tables["table2-gains"].notes


def test_one_seed_has_no_deviation_and_no_test():
    tables = table2(result(NS, seeds=(4,)), "bleu")
    assert named(tables["table2"], DENSE)["All Avg"] == "26.00"
    gain = named(tables["table2-gains"], NS)
    assert gain["All Avg"] == gain["All Avg, 95 %"] == "+0.90"
    assert gain["All Avg, exact p"] == "–"
    assert not [note for note in tables["table2-gains"].notes if "Smallest" in note]


def test_single_runs_show_their_intervals_over_sentences():
    table = table2(result(NS), "bleu")["table2-bootstrap"]
    assert list(table.columns)[:5] == ["System", "Seed", "All", "O2M", "M2O"]
    # 22 + 1.5 + 1.1 - 20.
    assert named(table, NS, Seed="1")["All"] == "+4.60 [+3.60, +5.60]*"
    assert named(table, DENSE, Seed="2")["All"] == "+4.00 [+3.00, +5.00]"
    assert any("over sentences" in note and "1.00" in note for note in table.notes)


def test_a_corpus_without_tiers_has_families_and_all():
    table = table2(result(NS, tiers={}), "bleu")["table2"]
    columns = ["Germanic", "Afro-Asiatic", "All O2M", "All M2O", "All Avg"]
    assert list(table.columns) == ["System", "Seeds", *columns]
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
    assert list(table.columns) == ["Block", "System", "Seeds", "ar", "nl", "de", "Avg"]
    assert [row["Block"] for row in rows(table)] == ["O2M"] * 3 + ["M2O"] * 3
    assert named(table, DENSE, Block="M2O")["ar"] == "15.50 ± 0.71"
    assert named(table, DENSE, Block="O2M")["Avg"] == "21.50 ± 0.71"
    assert named(tables["table1-gains"], NS, Block="M2O")["nl"] == "+0.65 ± 0.07*"
    assert any("could not be recovered" in note for note in table.notes)


def test_published_rows_carry_their_firmness_and_the_difference():
    table = beside_table(result(RANDOM, NS, seeds=(1, 3)), "bleu")
    found = rows(table)
    # Of another corpus, absolute scores are not set beside the paper's.
    assert [row["Row"] for row in found[::3]] == [
        "Random, Δ to mT-big",
        "Neuron Specialization, Δ to mT-big",
    ]
    assert [row["Whose"] for row in found[:3]] == ["paper", "here", "here − paper"]
    assert [row["All Avg"] for row in found[:3]] == ["-0.2†", "+0.5 ± 0.0", "+0.7"]
    assert [row["High O2M"] for row in found[3:]] == ["+1.8‡", "+1.7 ± 0.1", "-0.1"]
    assert found[1]["Med O2M"] == found[2]["Med O2M"] == "–"
    notes = " ".join(table.notes)
    assert "†: recalled" in notes
    assert "‡: arithmetic" in notes
    assert "Corpus and model are not the paper's" in notes


def test_at_the_papers_own_scale_absolute_scores_are_compared_too():
    found = rows(beside_table(result(NS, of_paper=True), "bleu"))
    assert [row["Row"] for row in found[::3]] == [
        *("mT-big", "Neuron Specialization", "Neuron Specialization, Δ to mT-big"),
    ]
    assert [row["All Avg"] for row in found[:3]] == ["27.6", "23.5 ± 0.7", "-4.1"]


def test_table_11_rounds_before_it_averages_and_has_both_metrics():
    table = group_score_table(result(NS, of_paper=True))
    assert [(row["Metric"], row["System"]) for row in rows(table)] == [
        (metric, system)
        for metric in ("BLEU", "chrF++")
        for system in (
            *("mT-big, paper", "Neuron Specialization, paper"),
            *(LABELS[name] for name in (DENSE, CONTROL, NS)),
        )
    ]
    assert named(table, DENSE, Metric="chrF++")["Low Avg"] == "37.0 ± 1.4"
    assert named(table, "mT-big, paper", Metric="BLEU")["Low Avg"] == "22.4"
    own = group_score_table(result(NS))
    assert not [row for row in rows(own) if "paper" in row["System"]]


def test_table_4_sets_systems_beside_bilingual_models():
    found = result("bilingual", NS)
    table = table4(found, "bleu")["table4"]
    # By tier, then as tables have them.
    assert list(table.columns) == ["Block", "System", "Seeds", "de", "nl", "ar"]
    assert named(table, "bilingual", Block="O2M")["de"] == "29.50 ± 0.71"
    assert named(table, f"{LABELS[DENSE]}, Δ", Block="O2M")["de"] == "+2.00 ± 0.00*"
    assert named(table, f"{LABELS[NS]}, Δ", Block="M2O")["ar"] == "+3.65 ± 0.07*"
    points = gaps(found, "bleu")
    assert [point.language for point in points["O2M"]] == ["de", "nl", "ar"]
    assert (points["M2O"][0].gap, points["M2O"][0].gain) == pytest.approx((2.0, 0.65))


def test_the_papers_table_4_is_unconfirmed_as_a_whole():
    table = table4(result("bilingual", NS, of_paper=True), "bleu")["table4"]
    assert list(table.columns)[3:] == ["de", "ar"]
    assert named(table, "Bilingual, paper", Block="O2M")["ar"] == "23.7†"
    assert named(table, "mT-big, Δ, paper", Block="O2M")["de"] == "-4.7†"
    assert named(table, "Neuron Specialization, Δ, paper", Block="O2M")["ar"] == "-3.0†"
    assert not [row for row in rows(table) if row["Block"] == "M2O" and "paper" in row["System"]]
    assert paper().not_recovered["table4"] in table.notes


def test_without_bilingual_models_nothing_is_a_difference_to_them():
    table = table4(result(NS), "bleu")["table4"]
    assert {row["de"] for row in rows(table)} == {"–"}
    assert any("method=bilingual" in note for note in table.notes)
    assert gaps(result(NS), "bleu") == {"O2M": [], "M2O": []}


def big():
    return ModelSettings(encoder_layers=6, decoder_layers=6, d_model=1024, d_ff=4096, heads=16)


def test_table_3_shows_what_was_measured_beside_what_is_printed_and_what_shapes_give():
    small = ModelSettings(encoder_layers=1, decoder_layers=1, d_model=8, d_ff=16, heads=2)
    costs = [
        Cost("adapter_pair", "adapters", 500, 1000, None, None),
        Cost("lass", "LaSS", 0, 1000, 7200.0, 5000),
        Cost(NS, "NS", 0, 1000, 12.34, 40),
    ]
    tables = table3(costs, small, directions=6, big=big())
    adapters, lass, ns = rows(tables["table3"])
    assert (adapters["Parameters added"], adapters["Share"]) == ("500", "+50.0%")
    assert (adapters["Time to find"], adapters["Masks"]) == ("–", "–")
    assert adapters["Paper: memory"] == "1.42 GB†"
    assert (lass["Time to find"], lass["Paper: ΔT"]) == ("2.0 h", "+33 h†")
    # 2 layers: 12 x 64 attention and 4 x 128 feed-forward weights, times 6.
    assert lass["As booleans"] == format_bytes((12 * 64 + 4 * 128) * 6)
    assert ns["As booleans"] == format_bytes(2 * 16 * 8 * 6)
    assert (ns["Time to find"], ns["Masks"]) == ("12.3 s", "40 B")
    memory = [row["Memory"] for row in rows(tables["table3-arithmetic"])]
    assert memory == ["1.42 GiB", "9.84 GiB", "2.81 GiB", "360.00 KiB"]
    assert rows(tables["table3-arithmetic"])[0]["Parameters"] == "+86.6%"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.048, "0.05 s"), (59.94, "59.9 s"), (318, "5.3 min"), (118_800, "33.0 h")],
)
def test_seconds_are_shown_in_a_fitting_unit(value, text):
    assert format_seconds(value) == text


def test_conditions_are_rows_with_their_own_control():
    conditions = {"k-70": result(NS), "k-90": result(NS, seeds=(1,), absent=[Absence(NS, 2, "no")])}
    table = conditions_table(conditions, "bleu", title="t")
    first, second = rows(table)
    assert (first["Condition"], first["Seeds"], first["control BLEU"]) == (
        *("k-70", "2", "24.50 ± 0.71"),
    )
    assert first["gain O2M"] == "+0.65 ± 0.07*"
    assert first["runs with p < 0.05"] == "2 above, 0 below of 2"
    assert (second["Seeds"], second["gain All"], second["exact p"]) == ("1", "+0.60", "–")
    assert f"k-90: missing: {LABELS[NS]}, seed 2: no" in table.notes


def test_gains_are_drawn_at_the_places_of_their_conditions():
    conditions = {"b": result(NS, seeds=(2, 4)), "a": result(NS, seeds=(1,))}
    found = gain_curves(conditions, {"a": "70", "b": "100"}, "bleu")
    curve = found.curves[LABELS[NS]]
    assert found.values == ["70", "100"]
    assert curve.places == [0, 1]
    assert curve.means == pytest.approx([0.6, 0.8])
    assert curve.deviations == pytest.approx([0.0, math.sqrt(2) / 10])


def test_every_table_is_written_in_every_form():
    found = result("bilingual", NS, of_paper=True)
    tables = {**table2(found, "bleu"), **table1(found, "bleu"), **table4(found, "bleu")}
    tables["paper"] = beside_table(found, "bleu")
    for table in tables.values():
        assert table.to_csv().count("\n") == len(table.rows) + 1
        assert r"\begin{tabular}" in table.to_latex()
        assert table.to_markdown().startswith("**")


def test_nothing_finished_leaves_rows_of_dashes():
    empty = Reproduction((NS,), (), (Absence(NS, 1, "no"),), LABELS, languages(TIERS), "en")
    tables = score_tables(empty, "bleu", {"": [Column("All", ())]}, name="x", title="X")
    assert [row[::2] for row in tables["x"].rows] == [
        [LABELS[name], "–"] for name in (DENSE, CONTROL, NS)
    ]
