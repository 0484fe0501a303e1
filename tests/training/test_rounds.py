"""Claims about stages whose masks change: they end with weights of their last masks."""

from types import SimpleNamespace

import pytest
import torch
from small_run import train_stages

from nsmt.models.checkpoint import load_checkpoint
from nsmt.training.keeping import KeepAverage, KeepBest, KeepMean
from nsmt.training.snapshot import weights_of

NAME = "reidentify"
# Rounds begin after updates 3 and 6.
ROUNDS = (
    f"method={NAME}",
    "method.rounds=3",
    "selection.k=60",
    "schedule.dense.updates=4",
    "schedule.specialise.updates=9",
)


def ended(config):
    train_stages(config)
    return load_checkpoint(config.folder / NAME / "checkpoint")


def is_tight(trained):
    return trained.atlas.provenance["selection"]["k"] == 60.0


def same(weights, trained):
    state = trained.model.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in weights.items())


@pytest.fixture
def validated(monkeypatch):
    """The weights at each validation of the stage, the likelihood of which gets worse and worse."""
    seen, real = {}, KeepBest.on_validation_end

    def on_validation_end(callback, trainer, module):
        if module.masks is not None:
            seen[trainer.global_step] = weights_of(module.model)
        worse = {"valid/nll": torch.tensor(float(trainer.global_step))}
        real(callback, SimpleNamespace(callback_metrics=worse), module)

    monkeypatch.setattr(KeepBest, "on_validation_end", on_validation_end)
    return seen


def test_the_best_weights_are_the_best_of_the_last_round(small_config, validated):
    words = ("callbacks.keep=best", "schedule.specialise.validate_every=2")
    trained = ended(small_config(*ROUNDS, *words))
    assert is_tight(trained)
    assert list(validated) == [2, 4, 6, 8, 9] or list(validated) == [2, 4, 6, 8]
    # The best of all was the first.
    assert not same(validated[2], trained)
    assert same(validated[6], trained)


def test_a_stage_does_not_end_before_its_last_round(small_config):
    # Nothing learns, so every validation would be the last.
    words = ("callbacks.patience=1", "schedule.specialise.learning_rate=1e-12")
    words += ("schedule.specialise.validate_every=1", "schedule.dense.validate_every=4")
    trained = ended(small_config(*ROUNDS, *words))
    assert trained.history["updates"] == 7
    assert is_tight(trained)


def test_an_average_is_that_of_validations_of_the_last_round(small_config, monkeypatch):
    seen, real = {}, KeepAverage.on_validation_end

    def on_validation_end(callback, trainer, module):
        real(callback, trainer, module)
        if module.masks is not None:
            seen[trainer.global_step] = weights_of(module.model)

    monkeypatch.setattr(KeepAverage, "on_validation_end", on_validation_end)
    words = ("callbacks.keep=average", "schedule.specialise.validate_every=3")
    trained = ended(small_config(*ROUNDS, *words))
    assert list(seen) == [3, 6, 9]
    mean = {name: (seen[6][name].double() + seen[9][name].double()) / 2 for name in seen[9]}
    assert same({name: tensor.float() for name, tensor in mean.items()}, trained)


def test_a_moving_average_begins_again_with_each_round(small_config, monkeypatch):
    begun = []

    def begin_again(callback, module):
        real(callback, module)
        begun.append(all(torch.equal(callback._mean[n], p) for n, p in parameters(module)))

    def parameters(module):
        return module.model.named_parameters()

    real = KeepMean.begin_again
    monkeypatch.setattr(KeepMean, "begin_again", begin_again)
    ended(small_config(*ROUNDS, "callbacks.keep=ema"))
    assert begun == [True, True]
