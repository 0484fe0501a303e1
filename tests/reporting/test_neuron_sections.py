"""Captions of masks tell the rule by which these masks were made, not that of the run."""

import pytest
import torch

from nsmt.evaluation.paper import paper
from nsmt.languages import LanguageTable
from nsmt.methods import Evidence
from nsmt.methods.layer_budget import LayerBudget
from nsmt.methods.neuron_specialization import NeuronSpecialization
from nsmt.methods.random_neurons import BernoulliNeurons, RandomNeurons
from nsmt.methods.reidentify import Reidentify
from nsmt.neurons.overlap import shares, shares_at
from nsmt.neurons.selection import SelectionSettings, StackPercent, cumulative
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.reporting.neuron_sections import overlap_sections, rule_of, sparsity_section

SITES = [Site("encoder", 0, 30), Site("decoder", 0, 30)]
TASKS = ["en-de", "de-en", "en-fr", "fr-en"]
LANGUAGES = LanguageTable(["en", "de", "fr"])


@pytest.fixture
def statistics():
    made = ActivationStatistics(TASKS, SITES)
    for number, site in enumerate(SITES):
        generator = torch.Generator().manual_seed(number)
        made.active[site.name] = torch.randint(1, 50, (4, 30), generator=generator)
    return made


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (NeuronSpecialization(), "at k = 80 (decoder from pivot 60)"),
        (
            NeuronSpecialization(name="neuron_specialization_encoder"),
            "at k = 80 (decoder from pivot 60), encoder alone",
        ),
        (RandomNeurons(), "drawn at random, as many as a rule takes"),
        (BernoulliNeurons(rate=0.3), "each drawn with probability 0.3"),
        (LayerBudget(), "as many in the whole model as at k = 80 (decoder from pivot 60)"),
        (LayerBudget(budget="stack"), "as many in each stack as at k = 80 (decoder from pivot 60)"),
        # In the first of two rounds.
        (Reidentify(rounds=2), "at k = 90 (decoder from pivot 80)"),
    ],
)
def test_the_rule_is_read_from_the_masks_own_record(statistics, method, said):
    selection = SelectionSettings(k=80.0, from_pivot=StackPercent(decoder=60.0))
    atlas = method.treatment(Evidence(statistics, selection, "en", LANGUAGES, seed=1)).atlas
    assert rule_of(atlas.provenance) == said
    found = 2 * [shares(atlas, pivot="en")]
    name, section = sparsity_section("x", "X", found, made=2 * [atlas.provenance])
    assert name == "sparsity-x"
    assert section.caption.endswith(f"may not use, {said}; the mean over seeds.")


def test_masks_without_a_record_are_said_to_follow_none(statistics):
    assert rule_of(cumulative(statistics, lambda task, site: 50.0).provenance) == ""


@pytest.mark.parametrize(("k", "layers", "drawn"), [(70, 6, True), (80, 6, False), (70, 3, False)])
def test_the_papers_means_are_drawn_where_k_and_depth_are_the_papers(k, layers, drawn):
    sites = [Site(stack, n, 30) for stack in ("encoder", "decoder") for n in range(layers)]
    made = ActivationStatistics(TASKS, sites)
    for site in sites:
        made.active[site.name] = torch.arange(1, 121).reshape(4, 30)
    published = paper().figure("overlap")[0]
    measured = shares_at([made], k, pivot="en")
    found = dict(overlap_sections(measured, LANGUAGES, pivot="en", k=k, published=published))
    section = found["iou-by-depth"]
    lines = [each for axes in section.figure.axes for each in axes.lines]
    dots = [list(each.get_ydata()) for each in lines if each.get_label() == "paper, mean"]
    assert dots == ([list(published.encoder), list(published.decoder)] if drawn else [])
    assert ("another model and corpus" in section.caption) == drawn


def test_what_cannot_be_compared_has_no_figures_of_overlap(statistics):
    assert list(overlap_sections([], LANGUAGES, pivot="en", k=70)) == []
    found = shares_at([statistics], 70, pivot="en")
    names = [name for name, _ in overlap_sections(found, LANGUAGES, pivot="en", k=70)]
    assert names == ["iou-heatmaps", "iou-by-depth"]
    one = shares_at([ActivationStatistics(["en-de", "de-en"], SITES)], 70, pivot="en")
    assert list(overlap_sections(one, LANGUAGES, pivot="en", k=70)) == []
