"""Table 3, and that every table is whole in every form."""

import pytest
from made_results import NS, RANDOM, notes, result, rows

from nsmt.methods import BILINGUAL, CONTROL
from nsmt.models.settings import ModelSettings
from nsmt.reporting.condition_tables import conditions_table
from nsmt.reporting.efficiency_tables import Cost, format_bytes, format_seconds, table3
from nsmt.reporting.interference_tables import table4
from nsmt.reporting.interval_tables import claims_table
from nsmt.reporting.paper_tables import table1, table2
from nsmt.reporting.published_tables import beside_table, group_score_table
from nsmt.reporting.table_notes import updates_notes


def big():
    return ModelSettings(encoder_layers=6, decoder_layers=6, d_model=1024, d_ff=4096, heads=16)


def test_table_3_shows_what_was_measured_beside_what_is_printed_and_what_shapes_give():
    small = ModelSettings(encoder_layers=1, decoder_layers=1, d_model=8, d_ff=16, heads=2)
    costs = [
        Cost(CONTROL, "control", 0, 1000, None, None),
        Cost("adapter_pair", "adapters", 500, 1000, None, None),
        Cost("lass", "LaSS", 0, 1000, 7200.0, 5000),
        Cost(NS, "NS", 0, 1000, 12.34, 40, 0.5),
    ]
    tables = table3(costs, small, directions=6, big=big(), updates=())
    control, adapters, lass, ns = rows(tables["table3"])
    assert list(control.values()) == ["control", "0", "+0.0%", *["–"] * 6]
    assert (adapters["Parameters added"], adapters["Share"]) == ("500", "+50.0%")
    assert (adapters["Time to find"], adapters["Masks"]) == ("–", "–")
    assert adapters["Paper: memory"] == "1.42 GB†"
    assert (lass["Time to find"], lass["Paper: ΔT"]) == ("2.0 h", "+33 h†")
    # 2 layers: 12 x 64 attention and 4 x 128 feed-forward weights, times 6.
    assert lass["As booleans"] == format_bytes((12 * 64 + 4 * 128) * 6)
    assert ns["As booleans"] == format_bytes(2 * 16 * 8 * 6)
    assert (ns["Time to find"], ns["Masks"]) == ("12.3 s ± 0.50 s", "40 B")
    memory = [row["Memory"] for row in rows(tables["table3-arithmetic"])]
    assert memory == ["1.42 GiB", "9.84 GiB", "2.81 GiB", "360.00 KiB"]
    assert rows(tables["table3-arithmetic"])[0]["Parameters"] == "+86.6%"


def test_arithmetic_is_shown_in_the_units_that_the_papers_gb_may_be():
    table = table3([], big(), directions=6, big=big(), updates=())["table3-arithmetic"]
    printed = [(row["In units of 1,000"], row["Paper: memory"]) for row in rows(table)]
    assert printed[:2] == [("1.52 GB", "1.42 GB†"), ("10.6 GB", "9.84 GB†")]
    assert printed[2:] == [("3.02 GB", "3 GB†"), ("0.000369 GB", "–")]
    assert any(note.startswith("Smallest visible difference") for note in table.notes)
    assert "published, †" in notes(table)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.048, "0.05 s"), (59.94, "59.9 s"), (318, "5.3 min"), (118_800, "33.0 h")],
)
def test_seconds_are_shown_in_a_fitting_unit(value, text):
    assert format_seconds(value) == text


def every_table(*, seeds, of_paper):
    found = result(BILINGUAL, RANDOM, NS, seeds=seeds, of_paper=of_paper)
    tables = {"claims": claims_table(found, ["bleu", "chrf++", "nll"])}
    for metric in ("bleu", "nll"):
        tables |= {**table2(found, metric), **table1(found, metric)}
        tables[f"k-{metric}"] = conditions_table({"k": found}, metric, title="k")
    tables |= table4(found, "bleu")
    tables["paper"], tables["table11"] = beside_table(found, "bleu"), group_score_table(found)
    settings = big()
    costs = [Cost(NS, "NS", 0, 1000, 1.0, 40)]
    updates = updates_notes(found)
    tables |= table3(costs, settings, directions=6, big=settings, updates=updates)
    assert updates[0] in tables["table3"].notes
    return tables


@pytest.mark.parametrize("of_paper", [True, False])
@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_every_table_says_how_small_a_difference_it_could_have_seen(seeds, of_paper):
    for name, table in every_table(seeds=seeds, of_paper=of_paper).items():
        told = [note for note in table.notes if note.startswith("Smallest visible difference")]
        assert told, name
        assert not [note for note in told if "for want of an interval" in note], name


def test_every_table_is_written_in_every_form():
    for table in every_table(seeds=(1, 2), of_paper=True).values():
        assert table.to_csv().count("\n") == len(table.rows) + 1
        assert r"\begin{tabular}" in table.to_latex()
        assert table.to_markdown().startswith("**")
