"""The largest batch first, and time that is none of training's."""

import csv

import pytest
import torch
from pytorch_lightning import Callback
from safetensors.torch import load_file
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.data.datamodule import TableReader
from nsmt.data.plan import TrainingPlan
from nsmt.errors import DataError
from nsmt.models.transformer import Transformer
from nsmt.training import stages
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

    def __init__(self, clock):
        self.clock = clock

    def on_validation_batch_start(self, *_):
        self.clock.sleep(0.5)


def test_validation_takes_no_time_from_the_throughput(small_config, clock, monkeypatch):
    words = ("schedule=dense", "schedule.dense.updates=20", "schedule.dense.validate_every=5")
    with_callback(monkeypatch, SlowValidation(clock))
    config = small_config(*words, "callbacks.log_every=2")
    folder = trained(config)
    speeds = losses(folder, key="train/target_tokens_per_second")
    # Not even the stretches that hold a validation took half a second.
    tokens = config.batch.tokens * config.batch.per_update * 2
    assert clock.seconds > 1.5
    assert max(tokens / speed for speed in speeds) < 0.5
    assert max(losses(folder, key="train/data_wait")) < 0.9


@pytest.fixture
def eager_compilation(monkeypatch, clock):
    """Layers that are compiled as ever, by a backend that takes a second and leaves them alone."""
    real = Transformer.compile_layers

    def slow(graph, _):
        clock.sleep(0.5)
        return graph

    monkeypatch.setattr(Transformer, "compile_layers", lambda model: real(model, backend=slow))


def test_what_the_largest_batch_compiles_is_counted(small_config, eager_compilation, monkeypatch):
    real = stages._callbacks
    # Before the others, as on a GPU.
    monkeypatch.setattr(stages, "_callbacks", lambda *g, **n: [LargestFirst(), *real(*g, **n)])
    words = ("trainer.compile=true", "callbacks.log_every=1", "schedule.dense.updates=2")
    folder = trained(small_config("schedule=dense", *words, "schedule.dense.validate_every=2"))
    assert losses(folder, key="train/compiled")[0] >= 2


def test_an_update_that_compiles_is_in_no_throughput(small_config, eager_compilation):
    words = ("trainer.compile=true", "callbacks.log_every=1", "schedule.dense.updates=6")
    config = small_config("schedule=dense", *words, "schedule.dense.validate_every=3")
    folder = trained(config)
    with (folder / "dense" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/nll"]]
    assert [bool(row["train/target_tokens_per_second"]) for row in rows] == [False] + [True] * 5
    # Validation compiles too, in no update's time.
    assert {row["train/compiled"] for row in rows} == {"2"}
    tokens = config.batch.tokens * config.batch.per_update
    assert max(tokens / float(row["train/target_tokens_per_second"]) for row in rows[1:]) < 0.5


def test_a_stage_that_goes_on_counts_neither_its_compilation_nor_what_was_done_before(
    small_config, eager_compilation, monkeypatch
):
    words = ("trainer.compile=true", "callbacks.log_every=5", "states.every=3")
    config = small_config(*DENSE, *words)
    dying = [Dying(8)]
    real = stages._callbacks
    monkeypatch.setattr(
        stages, "_callbacks", lambda *given, **named: [*real(*given, **named), *dying]
    )
    with pytest.raises(KilledError):
        trained(config)
    dying.clear()
    folder = trained(config)
    with (folder / "dense" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/nll"]]
    assert [row["step"] for row in rows] == ["5", "10", "15", "20"]
    speeds = [float(row["train/target_tokens_per_second"]) for row in rows]
    # A second of compilation, or the tokens of six updates in the time of three, would show.
    assert max(speeds) < 5 * min(speeds)


class KilledError(Exception):
    pass


class Dying(Callback):
    """The process is interrupted after an update."""

    def __init__(self, update):
        self.update = update

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.update:
            raise KilledError


def test_every_stage_begins_with_nothing_compiled(small_config, eager_compilation, monkeypatch):
    seen, real = [], torch.compiler.reset
    monkeypatch.setattr(torch.compiler, "reset", lambda: seen.append(1) or real())
    train_stages(small_config("trainer.compile=true", "schedule.dense.updates=4"))
    assert len(seen) == 3


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
