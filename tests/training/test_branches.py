"""Claims about what takes Neuron Specialization apart: each variant's defining property."""

import csv

import pytest
import torch
from safetensors.torch import load_file
from small_run import train_stages
from weight_masks_read import mask_of

from nsmt.commands.train import check_consistency, train
from nsmt.errors import ConfigurationError
from nsmt.methods import CONTROL, DENSE
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.training import branches
from nsmt.training import stages as stages_module
from nsmt.training.isolation import IsolatedRows, first_weights
from nsmt.training.module import TranslationModule

SHORT = ("schedule.dense.updates=4", "selection.k=60")
# A sentence or two an update, so that most directions are absent from most updates.
TINY_UPDATES = ("batch.tokens=42", "batch.per_update=1", "schedule.specialise.updates=12")


def run(config, name):
    train_stages(config)
    return config.folder / name


def weights(folder):
    return load_file(folder / "checkpoint" / "model.safetensors")


def is_masked(name):
    return name.endswith("feed_forward.fc1.weight")


def test_masks_at_inference_are_put_on_the_controls_weights(small_config):
    folder = run(small_config("method=mask_at_inference", *SHORT), "mask_at_inference")
    own, control = weights(folder), weights(folder.parent / CONTROL)
    assert all(torch.equal(own[name], control[name]) for name in control)
    atlas = load_checkpoint(folder / "checkpoint").atlas
    statistics = ActivationStatistics.load(folder.parent / "identification/statistics.safetensors")
    assert atlas == select(statistics, SelectionSettings(k=60.0), pivot="en")


def test_a_model_whose_updates_were_masked_computes_with_all_neurons(small_config):
    folder = run(small_config("method=update_mask", *SHORT), "update_mask")
    assert load_checkpoint(folder / "checkpoint").atlas is None


def test_masked_updates_leave_rows_of_no_direction_as_the_dense_model_has_them(small_config):
    words = ("method=update_mask", SHORT[0], "selection.k=20")
    folder = run(small_config(*words), "update_mask")
    statistics = ActivationStatistics.load(folder.parent / "identification/statistics.safetensors")
    atlas = select(statistics, SelectionSettings(k=20.0), pivot="en")
    own, dense = weights(folder), weights(folder.parent / DENSE)
    for site in atlas.sites:
        name = f"{site.stack}.{site.layer}.feed_forward.fc1.weight"
        owned = torch.stack([atlas.mask(task, site) for task in atlas.tasks]).any(0)
        moved = (own[name] != dense[name]).any(1)
        assert not moved[~owned].any()
        assert moved[owned].all()
        # Of both there are some.
        assert 0 < int(owned.sum()) < len(owned)


def test_what_is_frozen_stays_as_the_dense_model_has_it(small_config):
    folder = run(small_config("method=frozen_rest", *SHORT), "frozen_rest")
    own, dense = weights(folder), weights(folder.parent / DENSE)
    for name in dense:
        assert torch.equal(own[name], dense[name]) != is_masked(name), name


@pytest.fixture
def watched(monkeypatch):
    """Whether each row was owned in each update, and whether it, or its moments, changed."""
    seen = []

    class Watching(IsolatedRows):
        def on_train_start(self, trainer, pl_module):
            super().on_train_start(trainer, pl_module)
            self.rows = _rows(trainer, pl_module)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            present = torch.zeros(len(pl_module.directions), dtype=torch.bool)
            present[batch.direction_C] = True
            now = _rows(trainer, pl_module)
            for site in pl_module.masks.sites:
                owned = (pl_module.masks.of(site) & present[:, None]).any(0)
                before, after = self.rows[site.name], now[site.name]
                moved = (before != after).any(0).any(-1)
                seen.append((owned, moved))
            self.rows = now

    def _rows(trainer, pl_module):
        """Weight and moments [3, F, D] of each site."""
        found = {}
        for name, weight in first_weights(pl_module.model).items():
            state = trainer.optimizers[0].state.get(weight, {})
            nothing = torch.zeros_like(weight)
            moments = [state.get(kind, nothing) for kind in ("exp_avg", "exp_avg_sq")]
            found[name] = torch.stack([weight.detach(), *moments]).clone()
        return found

    monkeypatch.setattr(stages_module, "IsolatedRows", Watching)
    return seen


def test_rows_without_an_owner_in_an_update_stay_as_they_are_to_the_bit(small_config, watched):
    run(small_config("method=isolated_updates", *SHORT, *TINY_UPDATES), "isolated_updates")
    owned = torch.cat([rows for rows, _ in watched])
    moved = torch.cat([rows for _, rows in watched])
    assert not (moved & ~owned).any()
    # The claim is not an empty one.
    assert (~owned).float().mean() > 0.1
    assert moved[owned].float().mean() > 0.5


def test_without_isolation_moments_move_rows_without_an_owner(small_config, watched, monkeypatch):
    monkeypatch.setattr(IsolatedRows, "_put_back", lambda self, *_: self._before.clear())
    run(small_config("method=isolated_updates", *SHORT, *TINY_UPDATES), "isolated_updates")
    owned = torch.cat([rows for rows, _ in watched])
    moved = torch.cat([rows for _, rows in watched])
    assert (moved & ~owned).any()


def test_updates_cannot_be_isolated_where_ranks_hold_parts_of_a_weight(small_config):
    config = small_config("method=isolated_updates", "trainer=fsdp", "trainer.accelerator=cpu")
    with pytest.raises(ConfigurationError, match="method=isolated_updates needs all of a weight"):
        check_consistency(config)


REIDENTIFY = ("method=reidentify", "method.rounds=3", "schedule.specialise.updates=9")


def test_masks_are_measured_again_on_the_weights_of_the_moment(small_config):
    folder = run(small_config(*SHORT, *REIDENTIFY), "reidentify")
    atlas = load_checkpoint(folder / "checkpoint").atlas
    assert atlas.provenance["selection"]["k"] == 60.0
    assert atlas.provenance["statistics"]["update"] == 6
    dense = ActivationStatistics.load(folder.parent / "identification/statistics.safetensors")
    assert atlas != select(dense, SelectionSettings(k=60.0), pivot="en")


class Killed(BaseException):
    """What no part of the training expects."""


def metrics(folder):
    with (folder / "metrics.csv").open() as file:
        return [row["valid/nll"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", ["reidentify", "isolated_updates", "frozen_rest", "update_mask"])
def test_a_variant_that_is_killed_ends_as_one_that_is_not(
    small_config, tmp_path, monkeypatch, name
):
    words = [*SHORT, f"method={name}", "schedule.specialise.updates=9", "states.every=2"]
    words += ["method.rounds=3"] if name == "reidentify" else []
    alone = run(small_config(*words), name)
    again = small_config(*words, f"paths.runs={tmp_path}/again")
    real, killed = TranslationModule.training_step, []

    def step(module, batch, batch_idx):
        # In the branch, with a state of two rounds behind it.
        late = module.updates == 9 and module.trainer.global_step == 7
        if late and module.masks is not None and not killed:
            killed.append(True)
            raise Killed
        return real(module, batch, batch_idx)

    monkeypatch.setattr(TranslationModule, "training_step", step)
    with pytest.raises(Killed):
        train_stages(again)
    train_stages(again)
    first, second = weights(alone), weights(again.folder / name)
    assert all(torch.equal(first[key], second[key]) for key in first)
    atlases = [load_checkpoint(each / "checkpoint").atlas for each in (alone, again.folder / name)]
    assert atlases[0] == atlases[1]
    assert metrics(alone) == metrics(again.folder / name)


OTHERS = ("decoding.max_length_extra=2", "test.bootstrap_samples=5")


@pytest.fixture
def tuned(monkeypatch):
    """The weights of every copy that LaSS tunes, by direction."""
    seen, real = {}, branches._tuned

    def tune(context, part, settings, dense, direction, **more):
        found = real(context, part, settings, dense, direction, **more)
        seen[str(direction)] = {name: w.clone() for name, w in found.model.state_dict().items()}
        return found

    monkeypatch.setattr(branches, "_tuned", tune)
    return seen


def test_lass_keeps_the_largest_weights_of_models_tuned_on_each_direction(small_config, tuned):
    words = ("method=lass", "method.rate=0.4", "schedule.tuning.updates=3", *SHORT, *OTHERS)
    config = small_config(*words)
    train(config)
    folder = config.folder / "lass"
    masks = load_checkpoint(folder / "checkpoint").weight_masks
    directions = [str(each) for each in config.data.parsed_directions]
    assert list(masks.tasks) == directions
    assert list(tuned) == directions
    for task, own in tuned.items():
        matrices = {name for name, weight in own.items() if weight.ndim == 2 and "coder." in name}
        assert masks.shapes.keys() == matrices
        for name in matrices:
            size = own[name].numel()
            largest = own[name].abs().flatten().argsort(descending=True)[: size - int(0.4 * size)]
            expected = torch.zeros(size, dtype=torch.bool)
            expected[largest] = True
            assert torch.equal(mask_of(masks, task, name).flatten(), expected), (task, name)
    assert mask_of(masks, directions[0], name).ne(mask_of(masks, directions[1], name)).any()
    # What the masks were made of is not kept.
    assert not (folder / "tuning").exists() or not list((folder / "tuning").iterdir())
    assert not (folder / "weight_masks").exists()
    assert (config.folder / "results" / "against-continue_dense.json").is_file()


@pytest.mark.parametrize("name", ["adapter_pair", "adapter_family"])
def test_adapters_are_trained_and_the_dense_model_is_not(small_config, name):
    config = small_config(f"method={name}", "method.bottleneck=8", *SHORT, *OTHERS)
    train(config)
    own, dense = weights(config.folder / name), weights(config.folder / DENSE)
    assert all(torch.equal(own[key], dense[key]) for key in dense)
    adapters = load_checkpoint(config.folder / name / "checkpoint").model.adapters
    directions = config.data.parsed_directions
    groups = len(directions) if name == "adapter_pair" else len(set(adapters.group_of.values()))
    assert len(adapters.groups) == groups
    assert own.keys() - dense.keys()


@pytest.mark.parametrize("unit", ["direction", "pair"])
def test_bilingual_models_have_updates_of_their_own_and_know_their_directions(small_config, unit):
    words = ("schedule.dense.updates=8", "schedule.separate.updates=3")
    config = small_config("method=bilingual", f"method.unit={unit}", *words, *OTHERS)
    train(config)
    folders = sorted((config.folder / "bilingual").iterdir())
    models = [load_checkpoint(folder / "checkpoint") for folder in folders]
    directions = config.data.parsed_directions
    expected = len(directions) if unit == "direction" else len(directions) // 2
    assert len(models) == expected
    assert {each for model in models for each in model.directions} == set(directions)
    assert {model.history["updates"] for model in models} == {3}
    assert (config.folder / "results" / "against-dense.json").is_file()
