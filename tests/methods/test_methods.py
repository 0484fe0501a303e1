"""Claims about methods: what each makes of the same evidence."""

from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
import torch
from pydantic import TypeAdapter
from small_run import train_stages

from nsmt.commands.compose import conf_folder
from nsmt.commands.train import check_consistency
from nsmt.errors import ConfigurationError
from nsmt.languages import LanguageTable
from nsmt.methods import CONTROL, DENSE, LABELS, AnyMethod, Evidence, Masked
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics

SITES = (Site("encoder", 0, 40), Site("encoder", 1, 40), Site("decoder", 0, 40))
NAMES = set(LABELS) - {DENSE}


@pytest.fixture
def evidence():
    statistics = ActivationStatistics(["en-de", "de-en", "en-fr", "fr-en"], SITES)
    for number, site in enumerate(SITES):
        generator = torch.Generator().manual_seed(number)
        statistics.active[site.name] = torch.randint(0, 50, (4, 40), generator=generator)
    languages = LanguageTable(["en", "de", "fr"])
    return Evidence(statistics, SelectionSettings(k=70.0), "en", languages, seed=1)


def method(name, **settings):
    return TypeAdapter(AnyMethod).validate_python({"name": name, **settings})


def kept(atlas, stack):
    return sum(atlas.masks(site).sum(-1) for site in SITES if site.stack == stack)


def test_every_method_has_a_name_a_label_and_a_configuration():
    named = {
        name
        for each in get_args(get_args(AnyMethod)[0])
        for name in get_args(each.model_fields["name"].annotation)
    }
    assert named == NAMES
    assert len(set(LABELS.values())) == len(LABELS)
    files = {path.stem for path in (conf_folder() / "method").glob("*.yaml")}
    assert files == NAMES


def test_methods_of_neurons_have_sets_of_neurons_and_the_control_has_none(evidence):
    treatments = {name: method(name).treatment(evidence) for name in NAMES}
    masked = {name: each for name, each in treatments.items() if isinstance(each, Masked)}
    assert [name for name, each in masked.items() if each.atlas is None] == [CONTROL]
    assert NAMES - set(masked) == {"lass", "adapter_pair", "adapter_family", "bilingual"}


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_one_stack_is_specialised_as_in_both_and_the_other_not_at_all(evidence, stack):
    atlas = method(f"neuron_specialization_{stack}").treatment(evidence).atlas
    both = method("neuron_specialization").treatment(evidence).atlas
    for site in SITES:
        expected = both.masks(site) if site.stack == stack else torch.ones(4, 40, dtype=torch.bool)
        assert torch.equal(atlas.masks(site), expected)


@pytest.mark.parametrize(("name", "own"), [("random", {}), ("layer_budget", {"budget": "stack"})])
def test_controls_use_as_many_neurons(evidence, name, own):
    like = select(evidence.statistics, evidence.selection, pivot="en")
    atlas = method(name, **own).treatment(evidence).atlas
    assert atlas != like
    for stack in ("encoder", "decoder"):
        assert torch.equal(kept(atlas, stack), kept(like, stack))


def test_random_neurons_are_as_many_at_every_layer(evidence):
    like = select(evidence.statistics, evidence.selection, pivot="en")
    atlas = method("random").treatment(evidence).atlas
    for site in SITES:
        assert torch.equal(atlas.masks(site).sum(-1), like.masks(site).sum(-1))


def test_another_seed_draws_other_neurons(evidence):
    for name in ("random", "bernoulli"):
        first, other = (method(name, seed=seed).treatment(evidence) for seed in (1, 2))
        assert first.atlas != other.atlas
        # So do runs of other seeds: their spread is that of the draw, too.
        run = replace(evidence, seed=2)
        assert method(name, seed=1).treatment(run).atlas not in (first.atlas, other.atlas)


TAKE_ATLAS = {
    *("neuron_specialization", "neuron_specialization_encoder", "neuron_specialization_decoder"),
    *("mask_at_inference", "update_mask", "frozen_rest", "isolated_updates", "random"),
}


@pytest.mark.parametrize("name", sorted(TAKE_ATLAS))
def test_a_given_atlas_stands_for_the_sets_that_a_method_would_select(evidence, name):
    selection = evidence.selection.model_copy(update={"k": 40.0})
    given = select(evidence.statistics, selection, pivot="en")
    found = method(name).treatment(replace(evidence, given=given)).atlas
    # All that a method makes of its own selection, it makes of what is given.
    assert found == method(name).treatment(replace(evidence, selection=selection)).atlas
    assert found != method(name).treatment(evidence).atlas


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_given_atlas_is_refused_by_methods_that_have_no_use_for_it(small_config, name, tmp_path):
    (tmp_path / "atlas").touch()
    words = (f"schedule.checkpoint={tmp_path}", f"schedule.atlas={tmp_path}/atlas")
    config = small_config("schedule=specialize", *words, f"method={name}")
    if name in TAKE_ATLAS:
        check_consistency(config)
        return
    with pytest.raises(ConfigurationError, match=f"method={name} has no use for"):
        check_consistency(config)


@pytest.mark.parametrize("name", ["random", "bernoulli"])
def test_every_run_draws_its_own_random_neurons(evidence, name):
    runs = [replace(evidence, seed=seed) for seed in (1, 2)]
    first, other = (method(name).treatment(run).atlas for run in runs)
    assert first != other
    assert method(name).treatment(runs[0]).atlas == first
    # The seeds of run and method are not one number.
    assert method(name, seed=2).treatment(runs[0]).atlas != other


@pytest.mark.parametrize(
    "name", ["mask_at_inference", "update_mask", "frozen_rest", "isolated_updates"]
)
def test_variants_have_the_neurons_of_the_method_that_they_take_apart(evidence, name):
    atlas = method(name).treatment(evidence).atlas
    assert atlas == select(evidence.statistics, evidence.selection, pivot="en")


def test_masks_that_are_measured_again_get_tighter_until_they_are_the_methods_own(evidence):
    treatment = method("reidentify", rounds=4).treatment(evidence)
    rounds = [treatment.tightening.atlas(evidence.statistics, number) for number in range(4)]
    assert rounds[0] == treatment.atlas
    assert rounds[-1] == select(evidence.statistics, evidence.selection, pivot="en")
    for looser, tighter in pairwise(rounds):
        assert (tighter & looser) == tighter
        assert tighter != looser


def test_k_of_each_side_is_loosened_by_itself(evidence):
    own = {"from_pivot": {"decoder": 60.0}}
    settings = SelectionSettings.model_validate({"k": 90.0, **own})
    loose = replace(evidence, selection=settings)
    atlas = method("reidentify", rounds=2).treatment(loose).atlas
    expected = SelectionSettings.model_validate({"k": 95.0, "from_pivot": {"decoder": 80.0}})
    assert atlas == select(evidence.statistics, expected, pivot="en")


@pytest.mark.parametrize("name", ["factorised", "random"])
def test_a_run_trains_with_the_masks_of_its_method(small_config, name):
    config = small_config(f"method={name}", "schedule.dense.updates=4", "selection.k=70")
    assert train_stages(config) == ["dense", CONTROL, name]
    trained = load_checkpoint(config.folder / name / "checkpoint")
    assert trained.atlas is not None
    assert trained.atlas.provenance["rule"] == name
