"""The largest batch first, and time that is none of training's."""

import csv
import time

import pytest
import torch
from pytorch_lightning import Callback
from safetensors.torch import load_file
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.data.datamodule import TableReader
from nsmt.data.plan import TrainingPlan
from nsmt.errors import DataError
from nsmt.training import stages
from nsmt.training.callbacks import StageMetrics
from nsmt.training.module import TranslationModule
from nsmt.training.warm_up import LargestFirst

DENSE = ("schedule=dense", "schedule.dense.updates=20", "schedule.dense.validate_every=10")


def trained(config):
    train_stages(config)
    return config.folder


def weights(folder):
    return load_file(folder / "dense" / "checkpoint" / "model.safetensors")


def losses(folder, key):
    with (folder / "dense" / "metrics.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file) if row.get(key)]


def with_callback(monkeypatch, callback):
    real = stages._callbacks
    monkeypatch.setattr(
        stages, "_callbacks", lambda *given, **named: [*real(*given, **named), callback]
    )


def test_the_largest_batch_comes_first_and_leaves_no_trace(small_config, tmp_path, monkeypatch):
    plain = weights(trained(small_config(*DENSE)))
    again = small_config(*DENSE, f"paths.runs={tmp_path}/again")
    seen = []
    real = TranslationModule.training_step

    def step(module, batch, batch_idx):
        seen.append(max(batch.source_BS.shape[1], batch.target_out_BT.shape[1]))
        return real(module, batch, batch_idx)

    monkeypatch.setattr(TranslationModule, "training_step", step)
    with_callback(monkeypatch, LargestFirst())
    found = weights(trained(again))
    assert all(torch.equal(plain[name], found[name]) for name in plain)
    assert len(seen) == 1 + 20 * again.batch.per_update
    assert seen[0] >= max(seen)


def test_the_largest_batch_holds_the_longest_sentence_of_the_plan(small_config):
    config = small_config()
    corpus = prepared_corpus(config)
    tables = {each: corpus.table(each, "train") for each in corpus.directions}
    plan = TrainingPlan(tables, batch=config.batch, temperature=1.0, seed=0)
    longest = max(
        int(side.max())
        for table in tables.values()
        for side in (table.source_lengths, table.target_lengths)
    )
    largest = plan.largest()
    assert longest == max(
        len(side)
        for place, row in zip(largest.direction, largest.row, strict=True)
        for table in [list(tables.values())[place]]
        for side in (table.source(row), table.target(row))
    )


class SlowValidation(Callback):
    """Validates a second longer."""

    def on_validation_batch_start(self, *_):
        time.sleep(0.5)


def test_validation_takes_no_time_from_the_throughput(small_config, monkeypatch):
    words = ("schedule=dense", "schedule.dense.updates=20", "schedule.dense.validate_every=5")
    watches = []
    real = StageMetrics._log

    def log(metrics, trainer, module):
        watches.append(metrics._watch)
        real(metrics, trainer, module)

    monkeypatch.setattr(StageMetrics, "_log", log)
    with_callback(monkeypatch, SlowValidation())
    started = time.perf_counter()
    config = small_config(*words, "callbacks.log_every=2")
    folder = trained(config)
    whole = time.perf_counter() - started
    speeds = losses(folder, key="train/target_tokens_per_second")
    # Not even the stretches that hold a validation took half a second.
    tokens = config.batch.tokens * config.batch.per_update * 2
    assert whole > 1.5
    assert max(tokens / speed for speed in speeds) < 0.5
    assert max(losses(folder, key="train/data_wait")) < 0.9


@pytest.mark.parametrize("background", ["true", "false"])
def test_a_batch_that_cannot_be_read_is_the_error_that_was_meant(
    small_config, monkeypatch, background
):
    def read(*_, **__):
        raise DataError("a shard is torn", fix="prepare the corpus again")

    monkeypatch.setattr(TableReader, "read", read)
    config = small_config(*DENSE, f"trainer.background={background}")
    with pytest.raises(DataError, match="a shard is torn"):
        train_stages(config)
