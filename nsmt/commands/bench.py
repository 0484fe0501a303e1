"""`bench`: how long a thing takes as a ratio to its peer, measured side by side in one run."""

from __future__ import annotations

import json
import statistics as stats
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from nsmt.commands.bench_data import bench_load, bench_prepare
from nsmt.commands.config import PathSettings
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TableReader, TranslationData
from nsmt.data.plan import BatchSettings, in_order
from nsmt.data.prepare import prepare
from nsmt.data.sources import DataSettings
from nsmt.errors import ConfigurationError
from nsmt.files import replace_text
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.statistics import CountRule
from nsmt.progress import progress_bar, result_console
from nsmt.records import certificate, command_line
from nsmt.reporting.tables import Table
from nsmt.settings import Settings
from nsmt.training.identification import gather_statistics
from nsmt.training.module import TranslationModule
from nsmt.training.settings import OptimizerSettings, TrainerSettings
from nsmt.training.trainer import device_of, make_trainer, set_threads

Positive = Annotated[int, Field(ge=1)]
Contestants = Mapping[str, Callable[[], object]]


class BenchConfig(Settings):
    """All of `nsmt bench`."""

    what: Literal["identify", "prepare", "load"] = "identify"
    data: DataSettings
    model: ModelSettings
    batch: BatchSettings
    trainer: TrainerSettings
    repetitions: Positive
    pairs: Positive = Field(100_000, description="for prepare and load: sentence pairs made")
    output: str | None = Field(None, description="a JSON file for the result and its certificate")
    paths: PathSettings


def bench(config: BenchConfig) -> None:
    """Measure, show the figures, and keep them with a certificate where an output is named."""
    if config.trainer.world > 1:
        raise ConfigurationError(
            f"bench runs as one rank, the trainer asks for {config.trainer.world}",
            fix="choose trainer=cpu or trainer=gpu",
        )
    set_threads(config.trainer)
    downloads = Path(config.paths.downloads)
    match config.what:
        case "identify":
            figures = _identify(config)
        case "prepare":
            figures = bench_prepare(config.data, pairs=config.pairs, downloads=downloads)
        case "load":
            figures = bench_load(
                config.data, config.model, config.batch, pairs=config.pairs, downloads=downloads
            )
    rows = [[name.replace("_", " "), f"{value:,.4g}"] for name, value in figures.items()]
    result_console().print(Table(config.what, ["", "figure"], rows).to_rich())
    if config.output is not None:
        record: dict[str, Any] = certificate(
            command=command_line(),
            config=config.model_dump(mode="json"),
            seed=0,
            fingerprint=None,
        )
        record["figures"] = {name: float(f"{value:.5g}") for name, value in figures.items()}
        replace_text(Path(config.output), json.dumps(record, indent=1) + "\n")


def _identify(config: BenchConfig) -> dict[str, float]:
    """Median seconds of identification and its peers, and the median of its ratio to each."""
    corpus = prepare(
        config.data, corpora=Path(config.paths.corpora), downloads=Path(config.paths.downloads)
    )
    with tempfile.TemporaryDirectory() as scratch:
        seconds = _in_turns(
            _identification(config, corpus, folder=Path(scratch)),
            config.repetitions,
            device=device_of(config.trainer.accelerator),
        )
    found = {f"{name}_seconds": stats.median(values) for name, values in seconds.items()}
    ours = seconds.pop("identify")
    for peer, theirs in seconds.items():
        ratios = (our / their for our, their in zip(ours, theirs, strict=True))
        found[f"identify_over_{peer}"] = stats.median(ratios)
    return found


def _identification(config: BenchConfig, corpus: Corpus, *, folder: Path) -> Contestants:
    """Counting on the validation sets, against a bare forward pass and Lightning's validation.

    The bare pass reads the same batches and runs both stacks, without output projection and loss;
    the validation computes both.
    """
    torch.manual_seed(0)
    vocabulary, directions = corpus.vocabulary, list(corpus.directions)
    model = Transformer(config.model, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    device = device_of(config.trainer.accelerator)
    trained = TrainedModel(model.eval(), vocabulary, directions)
    data = TranslationData(corpus, batch=config.batch, temperature=1.0, seed=0)
    tables = {direction: corpus.table(direction, "valid") for direction in directions}
    reader = TableReader(tables, data.sequences)

    @torch.inference_mode()
    def forward() -> None:
        model.to(device)
        for planned in in_order(tables, tokens=config.batch.tokens):
            model(reader.read(planned).to(device))

    def validation() -> None:
        module = TranslationModule(
            model, directions=directions, masks=None, optimizer=OptimizerSettings(), updates=1
        )
        make_trainer(config.trainer, folder=folder).validate(module, datamodule=data, verbose=False)

    def identify() -> None:
        gather_statistics(
            trained,
            data,
            rule=CountRule(),
            trainer=config.trainer,
            folder=folder,
            progress=False,
        )

    return {"forward": forward, "validation": validation, "identify": identify}


def _in_turns(contestants: Contestants, repetitions: int, *, device: str) -> dict[str, list[float]]:
    """Seconds of each repetition, taking turns so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with progress_bar() as bar:
        task = bar.add_task("measure", total=repetitions + 1, status="")
        for turn in range(repetitions + 1):
            for name, function in contestants.items():
                start = time.perf_counter()
                function()
                if device == "cuda":
                    torch.cuda.synchronize()
                if turn > 0:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
            bar.advance(task)
    return seconds
