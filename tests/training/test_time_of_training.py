"""What the throughput and the waiting for data in `metrics.csv` are of, and what they are not."""

import csv

import pytest
from small_run import train_stages

from nsmt.training.keeping import KeepMean
from nsmt.training.resuming import Resuming
from nsmt.training.tightening import TightenMasks

SLOW_S = 0.5
WORDS = (
    "callbacks.log_every=1",
    "schedule.dense.updates=6",
    "schedule.specialise.updates=6",
    "schedule.dense.validate_every=2",
    "states.every=3",
)


@pytest.fixture
def slowed(monkeypatch, clock):
    """Have a method of a callback take longer."""

    def slow(owner, name, seconds):
        real = getattr(owner, name)

        def method(*given, **named):
            clock.sleep(seconds)
            return real(*given, **named)

        monkeypatch.setattr(owner, name, method)

    return slow


def rows(config, stage):
    train_stages(config)
    with (config.folder / stage / "metrics.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["train/nll"]]


def longest(config, found):
    """The longest time of an update, by its throughput."""
    tokens = config.batch.tokens * config.batch.per_update
    return max(tokens / float(row["train/target_tokens_per_second"]) for row in found)


@pytest.mark.parametrize(
    ("owner", "name", "words", "stage"),
    [
        (KeepMean, "on_train_start", ("schedule=dense", "callbacks.keep=ema"), "dense"),
        (KeepMean, "on_validation_end", ("schedule=dense", "callbacks.keep=ema"), "dense"),
        (Resuming, "_take", ("schedule=dense",), "dense"),
        (TightenMasks, "_measured", ("method=reidentify", "selection.k=60"), "reidentify"),
    ],
)
def test_what_is_no_training_is_in_no_time_of_it(small_config, slowed, owner, name, words, stage):
    slowed(owner, name, SLOW_S)
    config = small_config(*WORDS, *words)
    found = rows(config, stage)
    assert longest(config, found) < SLOW_S
    assert max(float(row["train/data_wait"]) for row in found) < 0.9


def test_what_callbacks_do_with_an_update_is_no_waiting_for_data(small_config, slowed):
    slowed(KeepMean, "on_train_batch_end", SLOW_S / 5)
    config = small_config(*WORDS, "schedule=dense", "callbacks.keep=ema")
    waited = [float(row["train/data_wait"]) for row in rows(config, "dense")]
    # Of the first, the plan is waited for.
    assert max(waited[1:]) < 0.5
