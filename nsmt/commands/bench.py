"""`bench`: how long a thing takes as a ratio to its peer, measured side by side in one run."""

from __future__ import annotations

import json
import statistics as stats
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field

from nsmt.data.batch import BatchLayout
from nsmt.files import replace_text
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.recording import ActivationRecorder
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.progress import result_console
from nsmt.records import certificate, command_line
from nsmt.reporting.tables import Table
from nsmt.settings import Settings
from nsmt.training.settings import TrainerSettings
from nsmt.training.trainer import device_of, set_threads

Positive = Annotated[int, Field(ge=1)]


class BenchConfig(Settings):
    """All of `nsmt bench`."""

    what: Literal["identify"] = "identify"
    model: ModelSettings
    trainer: TrainerSettings
    vocabulary: Positive
    directions: Positive
    sentences: Positive
    length: Positive
    repetitions: Positive
    output: str | None = Field(None, description="a JSON file for the result and its certificate")


def bench(config: BenchConfig) -> None:
    """Time identification against the plain teacher-forced forward pass over the same batch."""
    set_threads(config.trainer)
    device = device_of(config.trainer.accelerator)
    torch.manual_seed(0)
    model = Transformer(config.model, vocabulary_size=config.vocabulary, pad=0).eval().to(device)
    batch = _batch(config).to(device)
    statistics = ActivationStatistics(
        [f"task{row}" for row in range(config.directions)], model.sites, device=device
    )
    recorder = ActivationRecorder(statistics)
    recorder.observe(
        batch.direction_B, {"encoder": batch.source_real_BS, "decoder": batch.target_real_BT}
    )

    def forward() -> None:
        model.output(model(batch))

    def counting() -> None:
        with recorder.attached(model.projections):
            forward()

    plain, counted = _alternate(forward, counting, config.repetitions, device=device)
    ratio = stats.median(c / p for p, c in zip(plain, counted, strict=True))
    result = {
        "forward_ms": round(1000 * stats.median(plain), 2),
        "identify_ms": round(1000 * stats.median(counted), 2),
        "ratio": round(ratio, 4),
    }
    rows = [[name.replace("_", " "), str(value)] for name, value in result.items()]
    result_console().print(
        Table("identification against a forward pass", ["", "median"], rows).to_rich()
    )
    if config.output is not None:
        record = certificate(
            command=command_line(), config=config.model_dump(mode="json"), seed=0, fingerprint=None
        )
        replace_text(Path(config.output), json.dumps(record | {"result": result}, indent=1) + "\n")


@torch.inference_mode()
def _alternate(
    first: Callable[[], None], second: Callable[[], None], repetitions: int, *, device: str
) -> tuple[list[float], list[float]]:
    """Seconds of each repetition, the two taking turns so that both see the same machine."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repetitions + 2):
        for place, function in enumerate((first, second)):
            start = time.perf_counter()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= 2:  # the first turns warm up
                seconds[place].append(time.perf_counter() - start)
    return seconds


def _batch(config: BenchConfig) -> BatchLayout:
    shape = (config.sentences, config.length)
    source, target = (torch.randint(4, config.vocabulary, shape) for _ in range(2))
    real = torch.ones(shape, dtype=torch.bool)
    direction = torch.arange(config.sentences) % config.directions
    return BatchLayout(source, real, target, target, real, direction, target.numel())
