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

    what: Literal["identify"] = "identify"
    data: DataSettings
    model: ModelSettings
    batch: BatchSettings
    trainer: TrainerSettings
    repetitions: Positive
    output: str | None = Field(None, description="a JSON file for the result and its certificate")
    paths: PathSettings


def bench(config: BenchConfig) -> None:
    """Measure, show medians and ratios, and keep them where an output is named."""
    if config.trainer.world > 1:
        raise ConfigurationError(
            f"bench runs as one rank, the trainer asks for {config.trainer.world}",
            fix="choose trainer=cpu or trainer=gpu",
        )
    set_threads(config.trainer)
    corpus = prepare(
        config.data, corpora=Path(config.paths.corpora), downloads=Path(config.paths.downloads)
    )
    with tempfile.TemporaryDirectory() as scratch:
        seconds = _in_turns(
            _identification(config, corpus, folder=Path(scratch)),
            config.repetitions,
            device=device_of(config.trainer.accelerator),
        )
    medians = {name: stats.median(values) for name, values in seconds.items()}
    peers = [name for name in seconds if name != config.what]
    ratios = {
        peer: stats.median(
            ours / theirs for ours, theirs in zip(seconds[config.what], seconds[peer], strict=True)
        )
        for peer in peers
    }
    rows = [[name, f"{1000 * value:.1f} ms"] for name, value in medians.items()]
    rows += [[f"{config.what} / {peer}", f"{ratio:.3f}"] for peer, ratio in ratios.items()]
    title = f"{config.what}, medians of {config.repetitions}"
    result_console().print(Table(title, ["", "median"], rows).to_rich())
    if config.output is not None:
        record: dict[str, Any] = certificate(
            command=command_line(),
            config=config.model_dump(mode="json"),
            seed=0,
            fingerprint=corpus.fingerprint,
        )
        record["seconds"] = {name: round(value, 4) for name, value in medians.items()}
        record["ratios"] = {peer: round(ratio, 4) for peer, ratio in ratios.items()}
        replace_text(Path(config.output), json.dumps(record, indent=1) + "\n")


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
