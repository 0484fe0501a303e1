"""Stages that are killed and started again, and what is left of them."""

import csv

import torch
from safetensors.torch import load_file
from small_run import train_stages

from nsmt.training.module import TranslationModule

STAGE = (
    "schedule=dense",
    "schedule.dense.updates=20",
    "schedule.dense.validate_every=8",
    "states.every=3",
    "callbacks.log_every=2",
)
TIMED = ("tokens_per_second", "tflops", "share_of_matrix_rate", "memory_mib", "data_wait")


class Killed(BaseException):
    """What no part of the training expects."""


def run(config):
    train_stages(config)
    return config.folder / "dense"


def weights(stage):
    return load_file(stage / "checkpoint" / "model.safetensors")


def metrics(stage):
    """All that was logged but what depends on the time it took."""
    with (stage / "metrics.csv").open() as file:
        return [
            {key: value for key, value in row.items() if not key.endswith(TIMED)}
            for row in csv.DictReader(file)
        ]


def require_equal(one, other):
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert metrics(one) == metrics(other)


def die():
    raise Killed


def until_done(config):
    """Start the same run again and again; how often it was killed."""
    kills = 0
    while True:
        try:
            return run(config), kills
        except Killed:
            kills += 1


def poison(monkeypatch, updates):
    """Losses that are no numbers, at some updates of the plan, each time they come."""
    real = TranslationModule.training_step

    def step(module, batch, batch_idx):
        loss = real(module, batch, batch_idx)
        return loss * torch.nan if batch.position.done + 1 in updates else loss

    monkeypatch.setattr(TranslationModule, "training_step", step)
