"""Figures of `nsmt reproduce`: each point is of its own language, condition and seeds."""

import json
from statistics import fmean

import pytest
import torch
from reproductions import NS, configured, planned
from shifted_runs import above, finish

from nsmt.commands.reproduce_page import _figures
from nsmt.commands.reproduce_results import gather
from nsmt.methods import CONTROL, DENSE
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import masked_share
from nsmt.reporting.paper_tables import named
from nsmt.reporting.results_tables import HEADINGS

# What the masks of these conditions keep of every layer.
KEPT = {"k-70": 0.2, "k-98": 0.6}


@pytest.fixture
def drawn(finished_run, tmp_path):
    """All figures of a small reproduction whose scores are shifted, by name; and what was found."""
    words = ("paper", "scale=smoke", f"methods=[bilingual,{NS}]", f"paths.runs={tmp_path}/runs")
    plan = planned(*words)
    finish(plan, finished_run)
    for condition, kept in KEPT.items():
        of_condition = next(each for each in plan.conditions if each.name == condition)
        for seed in plan.seeds:
            keep(
                plan.folder(of_condition, NS, seed) / NS / "checkpoint" / "atlas.safetensors", kept
            )
    found = gather(plan)
    return dict(_figures(configured(*words), plan, found)), found


def keep(path, share):
    """Have masks keep the first `share` of the neurons of every layer."""
    atlas = NeuronAtlas.load(path)
    masks = {
        site.name: (torch.arange(site.width) < share * site.width).expand(len(atlas.tasks), -1)
        for site in atlas.sites
    }
    NeuronAtlas.from_masks(atlas.tasks, atlas.sites, masks).save(path)


def lines(axes):
    """What error bars are drawn around, by bar or curve: [[x, y], …]."""
    return [bars.lines[0].get_xydata().tolist() for bars in axes.containers]


def one_run(run, metric, direction):
    """The scores of the run that all are copies of, by system."""
    plain = json.loads((run / "results" / f"against-{CONTROL}.json").read_text())
    return {each["name"]: each["scores"][str(direction)][metric] for each in plain["systems"]}


@pytest.mark.parametrize("metric", ["bleu", "nll"])
def test_interference_is_what_sharing_costs_a_language_against_what_masks_bring(
    drawn, finished_run, metric
):
    figures, found = drawn
    section = figures[named("interference", metric)]
    result = found.results[""]
    panels = section.figure.axes
    assert [axes.get_title("left") for axes in panels] == ["O2M", "M2O"]
    # Only BLEU is shifted.
    shifts = [
        {
            name: above("", name, seed) * (metric == "bleu")
            for name in (DENSE, CONTROL, NS, "bilingual")
        }
        for seed in (1, 2)
    ]
    for axes, side in zip(panels, ("O2M", "M2O"), strict=True):
        assert [text.get_text() for text in axes.texts] == result.codes
        for code, (point,) in zip(result.codes, lines(axes), strict=True):
            own = one_run(finished_run, metric, result.between(code, side))
            # Bilingual models are a copy of the specialised one.
            costs = [own[DENSE] - own[NS] + of[DENSE] - of["bilingual"] for of in shifts]
            gains = [own[NS] - own[CONTROL] + of[NS] - of[CONTROL] for of in shifts]
            assert point == pytest.approx([fmean(costs), fmean(gains)])
    worse, better = ("right", "below") if metric == "nll" else ("left", "above")
    assert f"{worse} of 0, sharing" in section.caption
    assert f"{better} 0, specialisation" in section.caption


@pytest.mark.parametrize("metric", ["bleu", "nll"])
def test_gains_are_drawn_against_k_and_against_the_share_of_masked_neurons(
    drawn, finished_run, metric
):
    figures, found = drawn
    whole = [one_run(finished_run, metric, each) for each in found.results[""].directions]
    gain = fmean(own[NS] - own[CONTROL] for own in whole)
    places = {name: float(name.removeprefix("k-")) for name in found.results if name}
    gains = {
        name: gain
        + (metric == "bleu") * fmean(above(name, NS, s) - above(name, CONTROL, s) for s in (1, 2))
        for name in places
    }
    (curve,) = lines(figures[named("gain-by-k", metric)].figure.axes[0])
    expected = sorted((places[name], gains[name]) for name in places)
    assert curve == [pytest.approx(list(point)) for point in expected]

    section = figures[named("gain-by-masked-neurons", metric)]
    (curve,) = lines(section.figure.axes[0])
    shares = {name: masked_share(found.atlases(name, NS)[0]) for name in places}
    assert {round(shares[name], 2) for name in KEPT} == {0.79, 0.4}
    expected = sorted((round(shares[name], 4), gains[name]) for name in places)
    assert sorted(map(tuple, curve)) == [pytest.approx(point) for point in expected]
    assert HEADINGS[metric] in section.title
    assert HEADINGS[metric] in section.figure.axes[0].get_ylabel()
