"""What a person wants to see of a stage, and which of its weights to keep."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from rich.progress import Progress
from torch import Tensor

from nsmt.errors import TrainingError
from nsmt.progress import console, progress_bar
from nsmt.training.divergence import Guard
from nsmt.training.keeping import Remembering
from nsmt.training.module import TranslationModule
from nsmt.training.throughput import Stopwatch, compilations, matrix_rate, throughput

_LOG = logging.getLogger(__name__)
_WARM_UP = "warm-up: compiling"


class StageMetrics(pl.Callback):
    """Logs training sums every `log_every` updates and shows the stage's progress.

    Where layers are compiled, an update that compiles is a warm-up: shown as such, and in no figure
    of throughput. That is the first one of a process, and none after it.

    `watch` is stopped by others for what is no training. Callbacks that come before this one are in
    the time of an update, and those after it, in the time that the next batch is waited for.
    """

    def __init__(
        self,
        stage: str,
        *,
        updates: int,
        log_every: int,
        progress: bool,
        guard: Guard,
        watch: Stopwatch,
        compiled: bool = False,
    ) -> None:
        self.stage = stage
        self.updates = updates
        self.log_every = log_every
        self.progress = progress
        self.guard = guard
        self._compiled = compiled
        # Programs made by torch.compile before the update, and by all updates of the stage.
        self._programs = self._made = 0
        self._bar: Progress | None = None
        self._step = 0
        self._watch = watch
        self._status: dict[str, str] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """What the largest batch compiles, before training, is the stage's too."""
        del trainer, pl_module
        self._programs = compilations()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar on rank 0."""
        # Measured once, and not in the time of the first stretch.
        matrix_rate(pl_module.device.type, _dtype(trainer))
        self._watch.restart()
        self._step = trainer.global_step
        if self.progress and trainer.is_global_zero:
            self._bar = progress_bar()
            status = _WARM_UP if self._compiled else ""
            self._bar.add_task(self.stage, total=self.updates, completed=self._step, status=status)
            self._bar.start()

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401 -- Lightning's protocol
        batch_idx: int,
    ) -> None:
        """The data did not keep anybody waiting from here on."""
        del trainer, pl_module, batch, batch_idx
        self._watch.batch_came()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """At the end of an update: advance, and log now and then."""
        del outputs, batch, batch_idx
        self._watch.batch_done()
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._compiled and compilations() > self._programs:
            self._made += compilations() - self._programs
            self._programs = compilations()
            _module(pl_module).leave_untimed()
            self._watch.lap()
        if self._step % self.log_every == 0 or self._step == self.updates:
            self._log(trainer, pl_module)
        if self._bar is not None:
            self._bar.update(
                self._bar.task_ids[0],
                completed=self._step,
                status=" ".join(f"{name} {value}" for name, value in self._status.items()),
            )

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = _module(pl_module)
        nll, positions, tokens, timed = module.take_training_sums()
        nll /= max(tokens.target, 1)
        seconds, waited = self._watch.lap()
        self._status["nll"] = f"{nll:.2f}"
        values = {
            "train/nll": nll,
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "train/skipped": self.guard.skipped,
            "train/fill": (tokens.source + tokens.target) / positions,
        }
        if self._compiled:
            values["train/compiled"] = self._made
        # None where all that was trained since the last line was a warm-up.
        if timed.target:
            adapters = module.model.adapters
            speed = throughput(
                module.model.settings,
                vocabulary=module.model.output.out_features,
                bottleneck=None if adapters is None else adapters.settings.bottleneck,
                tokens=timed,
                seconds=seconds,
                ranks=trainer.world_size,
                device=module.device.type,
                dtype=_dtype(trainer),
            )
            self._status["tok/s"] = f"{speed['target_tokens_per_second']:,.0f}"
            values["train/data_wait"] = waited
            values |= {f"train/{name}": value for name, value in speed.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=self._step)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Time spent on validation is none of training's."""
        del trainer, pl_module
        self._watch.pause()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log and show the newest validation."""
        del pl_module
        self._watch.resume()
        # What validation compiles is none of an update's.
        self._programs = compilations()
        values = {
            name: value.item()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("valid/")
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)
        self._status["valid"] = f"{values['valid/nll']:.2f}"
        if self._bar is not None and not console.is_terminal:
            # A log file shows no bar before its end, so it gets a line at each validation.
            status = " ".join(f"{name} {value}" for name, value in self._status.items())
            console.print(f"{self.stage} {trainer.global_step}/{self.updates} {status}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        del trainer, pl_module
        if self._bar is not None:
            self._bar.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        del trainer, pl_module, exception
        if self._bar is not None:
            self._bar.stop()


class ValidationBar(pl.Callback):
    """Shows a pass over the validation sets that belongs to no stage."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._bar = progress_bar()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar on rank 0."""
        del pl_module
        if trainer.is_global_zero:
            self._bar.add_task(self._description, total=sum(trainer.num_val_batches), status="")
            self._bar.start()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: Any,  # noqa: ANN401
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """One batch further."""
        del trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
        for task in self._bar.task_ids:
            self._bar.advance(task)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar on the screen."""
        del trainer, pl_module
        self._bar.stop()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        del trainer, pl_module, exception
        self._bar.stop()


class StopDiverged(Remembering):
    """Ends a stage whose validation likelihood is no finite number any more.

    Where the best weights are kept and there were finite ones, the stage ends with those; otherwise
    a TrainingError, on all ranks.
    """

    def __init__(self, *, keep_best: bool) -> None:
        self.keep_best = keep_best
        self._seen_finite = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the newest validation."""
        del pl_module
        if math.isfinite(trainer.callback_metrics["valid/nll"].item()):
            self._seen_finite = True
            return
        updates = trainer.global_step
        problem = f"the validation likelihood is no finite number after {updates} updates"
        fix = "lower the learning rate, set optimizer.clip_norm, or train with precision 32-true"
        if not (self.keep_best and self._seen_finite):
            raise TrainingError(problem, fix=fix)
        _LOG.warning("%s: the stage ends with the best weights before; %s", problem, fix)
        trainer.should_stop = True

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Whether there was a finite likelihood."""
        return {}, {"seen_finite": self._seen_finite}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from it."""
        del tensors
        self._seen_finite = numbers["seen_finite"]


class StopEarly(Remembering, EarlyStopping):
    """Ends a stage after so many validations in a row without a better likelihood.

    Validations before the update `after` do not count: the masks are still to change.
    """

    def __init__(self, patience: int, *, after: int = 0) -> None:
        EarlyStopping.__init__(self, "valid/nll", patience=patience, mode="min")
        self.after = after

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the newest validation, if it is one that counts."""
        if trainer.global_step >= self.after:
            super().on_validation_end(trainer, pl_module)

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What Lightning's own would put into a checkpoint."""
        return {"best": self.best_score.cpu()}, {"waited": self.wait_count}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from it."""
        self.best_score, self.wait_count = tensors["best"], numbers["waited"]


def _dtype(trainer: pl.Trainer) -> torch.dtype:
    return torch.bfloat16 if "bf16" in str(trainer.precision) else torch.float32


def _module(pl_module: pl.LightningModule) -> TranslationModule:
    assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
    return pl_module
