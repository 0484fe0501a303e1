"""Tables of sweeps: seeds are paired, and nothing is tested that was measured once."""

import pytest
from made_results import HALF

from nsmt.evaluation.seeds import seed_difference
from nsmt.reporting.sweep_figures import sweep_figures
from nsmt.reporting.sweep_tables import RunScores, SweepScores, sweep_tables

LABELS = {"dense": "dense", "continue_dense": "continue-dense", "neuron": "neuron"}


def run(k, seed, *, gain=0.5):
    base = 20.0 + seed + (1.0 if k == "90.0" else 0.0)
    return RunScores(
        (k,),
        seed,
        {
            "dense": {"bleu": base, "nll": 2.0},
            "continue_dense": {"bleu": base + 1, "nll": 1.9},
            "neuron": {"bleu": base + 1 + gain + 0.1 * seed, "nll": 1.8},
        },
    )


def scores(*runs, keys=("selection.k",)):
    return SweepScores(keys, runs, LABELS, {"bleu": "sig", "nll": "sig"}, "All")


def tables(found, reference=("90.0",)):
    return sweep_tables(found, control="continue_dense", reference=reference)


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_a_row_is_a_setting_and_a_system_over_its_seeds():
    found = rows(tables(scores(run("100.0", 1), run("90.0", 1), run("90.0", 2)))["scores"])
    assert [(row["selection.k"], row["System"]) for row in found[:4]] == [
        ("90.0", "dense"),
        ("90.0", "continue-dense"),
        ("90.0", "neuron"),
        ("100.0", "dense"),
    ]
    assert found[0]["BLEU"] == "22.50 ± 0.71"
    assert found[0]["Seeds"] == "2"
    assert found[3]["BLEU"] == "21.00"


def test_gains_are_taken_within_a_run_and_tested_over_seeds():
    found = rows(tables(scores(*(run("90.0", seed) for seed in (1, 2, 3))))["gains"])
    assert [row["System"] for row in found] == ["dense", "neuron"]
    expected = seed_difference([0.6, 0.7, 0.8])
    cell = f"+0.70 [{expected.tested.low:+.2f}, {expected.tested.high:+.2f}]*"
    assert found[1]["Δ BLEU"] == cell
    assert found[1]["exact p"] == "0.250"


def test_settings_are_compared_over_the_seeds_that_both_have():
    found = tables(scores(run("90.0", 1), run("90.0", 2), run("80.0", 2), run("80.0", 3)))
    (dense, *_) = rows(found["settings"])
    assert dense["selection.k"] == "80.0"
    assert dense["Seeds"] == "1"
    assert dense["Δ BLEU"] == "-1.00"
    assert "Differences to selection.k=90.0" in found["settings"].title


def test_tables_say_how_small_a_difference_seeds_could_have_shown():
    found = tables(scores(*(run(k, seed) for k in ("90.0", "80.0") for seed in (1, 2, 3))))
    half = seed_difference([0.6, 0.7, 0.8]).tested.smallest_visible_difference
    seen = "Smallest visible difference to continue-dense, over seeds"
    text = f"{seen} ({HALF}): BLEU 0.00 to {half:.2f}, nll ↓ 0.0000."
    assert text in found["gains"].notes
    for table in found.values():
        assert any("Smallest visible difference" in note for note in table.notes)
        assert "variation between training runs alone" in " ".join(table.notes) or (
            table is found["scores"]
        )
    alone = tables(scores(run("90.0", 1)))["gains"]
    assert any("not known, for want of an interval" in note for note in alone.notes)


def test_one_seed_is_not_tested():
    (_, neuron) = rows(tables(scores(run("90.0", 1)))["gains"])
    assert neuron["Δ BLEU"] == "+0.60"
    assert neuron["exact p"] == "–"


def test_a_sweep_of_seeds_alone_compares_no_settings():
    alone = [RunScores((), seed, run("90.0", seed).scores) for seed in (1, 2)]
    found = tables(scores(*alone, keys=()), reference=())
    assert "settings" not in found
    assert list(sweep_figures(scores(*alone, keys=()))) == []


def test_every_swept_key_has_a_figure_a_metric_and_other_keys_have_panels():
    grid = [
        RunScores((k, method), 1, run(k, 1).scores)
        for k in ("80.0", "90.0")
        for method in ("one", "two")
    ]
    found = dict(sweep_figures(scores(*grid, keys=("selection.k", "method"))))
    assert set(found) == {
        *("bleu-by-selection.k", "bleu-by-method", "nll-by-selection.k", "nll-by-method")
    }
    by_k = found["bleu-by-selection.k"]
    assert [axes.get_title(loc="left") for axes in by_k.axes] == ["method=one", "method=two"]
    lines = by_k.axes[0].get_legend_handles_labels()[1]
    assert lines == ["dense", "continue-dense", "neuron"]
    assert by_k.axes[0].get_xlabel() == "selection.k"
    texts = [label.get_text() for label in found["bleu-by-method"].axes[0].get_xticklabels()]
    assert texts == ["one", "two"]


@pytest.mark.parametrize("name", ["scores", "gains", "settings"])
def test_tables_are_written_in_every_form(name):
    table = tables(scores(run("90.0", 1), run("80.0", 1)))[name]
    assert "selection.k" in table.to_csv()
    assert table.to_markdown().startswith("**")
    assert r"\begin{tabular}" in table.to_latex()
