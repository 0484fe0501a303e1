"""Claims about methods: what each makes of the same evidence."""

from typing import get_args

import pytest
import torch
from small_run import train_stages

from nsmt.commands.compose import conf_folder
from nsmt.methods import CONTROL, METHODS, Evidence, MethodName, MethodSettings
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics

SITES = (Site("encoder", 0, 40), Site("encoder", 1, 40), Site("decoder", 0, 40))


@pytest.fixture
def evidence():
    statistics = ActivationStatistics(["en-de", "de-en", "en-fr", "fr-en"], SITES)
    for number, site in enumerate(SITES):
        generator = torch.Generator().manual_seed(number)
        statistics.active[site.name] = torch.randint(0, 50, (4, 40), generator=generator)
    return Evidence(statistics, SelectionSettings(k=70.0), "en", MethodSettings(rate=0.6))


def kept(atlas, stack):
    return sum(atlas.masks(site).sum(-1) for site in SITES if site.stack == stack)


def test_every_method_has_a_name_a_label_and_a_configuration():
    assert set(METHODS) == set(get_args(MethodName))
    assert len({method.label for method in METHODS.values()}) == len(METHODS)
    files = {path.stem for path in (conf_folder() / "method").glob("*.yaml")}
    assert files == set(METHODS)


def test_only_the_control_has_no_masks(evidence):
    without = [name for name, method in METHODS.items() if method.atlas(evidence) is None]
    assert without == [CONTROL]


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_one_stack_is_specialised_as_in_both_and_the_other_not_at_all(evidence, stack):
    atlas = METHODS[f"neuron_specialization_{stack}"].atlas(evidence)
    both = METHODS["neuron_specialization"].atlas(evidence)
    for site in SITES:
        expected = both.masks(site) if site.stack == stack else torch.ones(4, 40, dtype=torch.bool)
        assert torch.equal(atlas.masks(site), expected)


@pytest.mark.parametrize("name", ["random", "layer_budget"])
def test_controls_use_as_many_neurons(evidence, name):
    like = select(evidence.statistics, evidence.selection, pivot="en")
    atlas = METHODS[name].atlas(evidence)
    assert atlas != like
    for stack in ("encoder", "decoder"):
        assert torch.equal(kept(atlas, stack), kept(like, stack))


def test_another_seed_draws_other_neurons(evidence):
    other = Evidence(evidence.statistics, evidence.selection, "en", MethodSettings(seed=2))
    for name in ("random", "bernoulli"):
        assert METHODS[name].atlas(evidence) != METHODS[name].atlas(other)


@pytest.mark.parametrize("name", ["factorised", "random"])
def test_a_run_trains_with_the_masks_of_its_method(small_config, name):
    config = small_config(f"method={name}", "schedule.dense.updates=4", "selection.k=70")
    assert train_stages(config) == ["dense", CONTROL, name]
    trained = load_checkpoint(config.folder / name / "checkpoint")
    assert trained.atlas is not None
    assert trained.atlas.provenance["rule"] == name
