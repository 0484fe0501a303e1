"""The training that a run does, with all that is around its steps.

Lightning, the guard against divergence, the log, and batches as they are planned, read and moved.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from nsmt.benchmarks.steps import SEED, new_model, random_masks
from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.models.settings import ModelSettings
from nsmt.training.callbacks import StageMetrics
from nsmt.training.divergence import Guard
from nsmt.training.module import TranslationModule
from nsmt.training.settings import DivergenceSettings, OptimizerSettings, TrainerSettings
from nsmt.training.throughput import Stopwatch, synchronise
from nsmt.training.trainer import make_trainer

# Updates that warm up.
_WARM_UP = 3


class _Clock(pl.Callback):
    """Target tokens, and the time that they took, of all updates but the first."""

    def __init__(self) -> None:
        self.tokens = 0
        self._since = self._until = 0.0

    @property
    def seconds(self) -> float:
        """The time of the updates that count."""
        return self._until - self._since

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """Count, and begin once everything is warm; the device is waited for twice."""
        del outputs, batch_idx
        if trainer.global_step > _WARM_UP:
            self.tokens += len(batch.counted_N)
        if trainer.global_step in (_WARM_UP, trainer.max_steps):
            synchronise(pl_module.device.type)
            self._since, self._until = self._until, time.perf_counter()


def whole_training(
    corpus: Corpus,
    model: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    updates: int,
) -> float:
    """Target tokens a second of so many updates of a run with each direction's masks."""
    network = new_model(corpus, model, device="cpu")
    masks = random_masks(corpus.directions, network)
    if trainer.compile:
        network.compile_layers()
    updates += _WARM_UP
    optimizer = OptimizerSettings(name="adamw")
    module = TranslationModule(
        network,
        directions=corpus.directions,
        masks=masks,
        optimizer=optimizer,
        updates=updates,
        loss=trainer.loss,
        compiled=trainer.compile,
    )
    data = TranslationData(
        corpus,
        batch=batch.model_copy(update={"per_update": 1}),
        temperature=1.0,
        seed=SEED,
        background=trainer.background,
    )
    clock = _Clock()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        guard = Guard(DivergenceSettings(), folder=folder)
        metrics = StageMetrics(
            "",
            updates=updates,
            log_every=50,
            progress=False,
            guard=guard,
            watch=Stopwatch(),
            compiled=trainer.compile,
        )
        runner = make_trainer(
            trainer,
            folder=folder,
            callbacks=[metrics, guard, clock],
            updates=updates,
            optimizer=optimizer,
        )
        runner.limit_val_batches = 0
        runner.fit(module, datamodule=data)
    return clock.tokens / clock.seconds
