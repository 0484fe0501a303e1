"""`bench`: how long a thing takes as a ratio to its peer, measured side by side in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from nsmt.benchmarks.decoding import bench_decode
from nsmt.benchmarks.identifying import bench_identify
from nsmt.benchmarks.preparing import bench_load, bench_prepare
from nsmt.benchmarks.record import keep_figures
from nsmt.benchmarks.timing import Figures
from nsmt.benchmarks.training import bench_train
from nsmt.commands.config import PathSettings
from nsmt.data.corpus import Corpus
from nsmt.data.plan import BatchSettings
from nsmt.data.prepare import folder_name, prepare
from nsmt.data.sources import DataSettings, make_source
from nsmt.errors import ConfigurationError
from nsmt.models.decoding import DecodingSettings
from nsmt.models.settings import ModelSettings
from nsmt.progress import result_console
from nsmt.records import certificate, command_line
from nsmt.reporting.tables import Table
from nsmt.settings import Count, Settings
from nsmt.training.settings import TrainerSettings
from nsmt.training.trainer import device_of, on_machine, set_machine

# Benchmarks that prepare corpora of their own.
_ON_TEXT = ("prepare", "load")


class BenchConfig(Settings):
    """All of `nsmt bench`."""

    what: Literal["train", "identify", "decode", "prepare", "load"] = "identify"
    data: DataSettings
    model: ModelSettings
    batch: BatchSettings
    decoding: DecodingSettings
    trainer: TrainerSettings
    repetitions: Count
    pairs: Count = Field(100_000, description="for prepare and load: sentence pairs made")
    sentences: Count = Field(500, description="for decode: sentences of the test set")
    updates: Count = Field(100, description="for decode: updates that make a model to decode")
    rounds: Count = Field(3, description="for decode: how often everybody translates")
    peer_batches: tuple[Count, ...] = Field(
        (16, 64), min_length=1, description="for decode: the peer's batch sizes; its best counts"
    )
    output: str | None = Field(None, description="a JSON file for the result and its certificate")
    paths: PathSettings


def bench(config: BenchConfig) -> None:
    """Measure, show the figures, and keep them with a certificate where an output is named.

    What was found before a failure is kept.
    """
    if config.trainer.world > 1:
        raise ConfigurationError(
            f"bench runs as one rank, the trainer asks for {config.trainer.world}",
            fix="choose trainer=cpu or trainer=gpu",
        )
    set_machine(config.trainer)
    corpus = None if config.what in _ON_TEXT else _corpus(config)
    record = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=0,
        fingerprint=_text(config) if corpus is None else corpus.fingerprint,
    )
    parts = _on_text(config) if corpus is None else _on_corpus(config, corpus)
    output = None if config.output is None else Path(config.output)
    figures = keep_figures(parts, record, output)
    rows = [[name.replace("_", " "), f"{value:,.4g}"] for name, value in figures.items()]
    result_console().print(Table(config.what, ["", "figure"], rows).to_rich())


def _on_text(config: BenchConfig) -> Iterator[Figures]:
    """Figures of a corpus that is prepared, again and again, from a source's text."""
    downloads = Path(config.paths.downloads)
    if config.what == "prepare":
        yield bench_prepare(config.data, pairs=config.pairs, downloads=downloads)
        return
    batch = on_machine(config.batch, config.trainer, config.model)
    yield bench_load(config.data, config.model, batch, pairs=config.pairs, downloads=downloads)


def _on_corpus(config: BenchConfig, corpus: Corpus) -> Iterator[Figures]:
    """Figures as they are found."""
    batch = on_machine(config.batch, config.trainer, config.model)
    match config.what:
        case "train":
            yield from bench_train(
                corpus, config.model, batch, config.trainer, repetitions=config.repetitions
            )
        case "decode":
            yield bench_decode(
                corpus,
                config.model,
                batch,
                config.decoding,
                sentences=config.sentences,
                updates=config.updates,
                rounds=config.rounds,
                peer_batches=config.peer_batches,
                device=device_of(config.trainer.accelerator),
            )
        case "identify":
            with tempfile.TemporaryDirectory() as scratch:
                yield bench_identify(
                    corpus,
                    config.model,
                    batch,
                    config.trainer,
                    repetitions=config.repetitions,
                    folder=Path(scratch),
                )


def _text(config: BenchConfig) -> str:
    """What the corpus of these settings and inputs is called."""
    if config.data.prepared is not None:
        raise ConfigurationError(
            f"what={config.what} measures the text of a source, and data.prepared has none",
            fix="leave out data.prepared",
        )
    source = make_source(config.data)
    source.settle(Path(config.paths.downloads))
    return folder_name(config.data, source)


def _corpus(config: BenchConfig) -> Corpus:
    return prepare(
        config.data, corpora=Path(config.paths.corpora), downloads=Path(config.paths.downloads)
    )
