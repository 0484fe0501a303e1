"""Overlap and sparsity by layer beside the paper's, against values worked out by hand."""

import pytest
import torch
from made_results import notes, rows

from nsmt.evaluation.paper import paper
from nsmt.neurons.overlap import shares_at
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.reporting.layer_tables import layer_tables

TASKS = ["en-de", "de-en", "en-fr", "fr-en"]
WIDTH = 10


def statistics(layers, *, shared=0):
    """Tasks with ten neurons of equal activity, of which the first two tasks share some.

    Of ten equal neurons k = 70 takes seven and k = 95 all ten, the first of them.
    """
    sites = [Site(stack, layer, 4 * WIDTH) for stack in ("encoder", "decoder") for layer in layers]
    made = ActivationStatistics(TASKS, sites)
    for site in sites:
        active = torch.zeros(4, site.width, dtype=torch.long)
        for place in range(4):
            start = 0 if place >= 2 and site.layer < shared else (place // 2) * WIDTH
            active[place, start : start + WIDTH] = 5
        made.active[site.name] = active
    return made


def tables_of(statistics, *, of_paper):
    by_k = {line.k: shares_at(statistics, line.k, pivot="en") for line in paper().layers}
    return layer_tables(by_k, pivot="en", of_paper=of_paper)


def line(table, stack, values, whose, k="70"):
    (found,) = [
        row
        for row in rows(table)
        if (row["Stack"], row["k"], row["Values"], row["Whose"]) == (stack, k, values, whose)
    ]
    return found


def test_values_of_every_layer_stand_beside_the_papers_with_the_change_over_depth():
    # All is shared in the first layer, nothing in the second; another seed shares nothing.
    tables = tables_of([statistics(range(2), shared=1), statistics(range(2))], of_paper=False)
    table = tables["iou-by-depth"]
    own = line(table, "decoder", "mean", "here")
    assert (own["1"], own["2"], own["3"]) == ("0.500 ± 0.707", "0.000 ± 0.000", "–")
    assert own["last − first"] == "-0.500 ± 0.707"
    theirs = line(table, "decoder", "mean", "paper")
    assert (theirs["1"], theirs["6"], theirs["last − first"]) == ("0.522", "0.259", "-0.263‡")
    # Seven of forty neurons are kept: p² / (2p - p²).
    assert line(table, "encoder", "chance", "here")["1"].startswith("0.096")
    assert "of another model and corpus" in notes(table)
    assert "Smallest visible difference: that between dense models" in notes(table)
    assert not [row for row in rows(table) if row["Whose"] == "here − paper"]


def test_sparsity_is_shown_at_both_of_the_papers_k():
    table = tables_of([statistics(range(2))], of_paper=False)["sparsity-by-layer"]
    assert line(table, "encoder", "en→X", "here")["1"] == "0.825"
    assert line(table, "encoder", "en→X", "here", k="95")["1"] == "0.750"
    assert line(table, "encoder", "X→en", "paper", k="95")["1"] == "0.296≈"
    assert line(table, "decoder", "X→en", "paper")["last − first"] == "+0.053≈"
    assert "read off a figure" in notes(table)
    assert "not known of one dense model" in notes(table)


def test_at_the_papers_scale_there_is_a_difference():
    tables = tables_of([statistics(range(6))], of_paper=True)
    gap = line(tables["iou-by-depth"], "encoder", "mean", "here − paper")
    assert (gap["1"], gap["last − first"]) == ("-0.377", "-0.278")
    assert "of another model" not in notes(tables["iou-by-depth"])


@pytest.mark.parametrize(("tasks", "names"), [(None, []), (TASKS[:2], ["sparsity-by-layer"])])
def test_what_was_not_measured_or_cannot_be_compared_has_no_table(tasks, names):
    found = [] if tasks is None else [ActivationStatistics(tasks, statistics(range(1)).sites)]
    assert list(tables_of(found, of_paper=False)) == names
