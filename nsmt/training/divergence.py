"""Updates that would ruin a model: skipped, counted, written down, and undone if they go on.

An update's gradient norm, over all parameters and ranks, is compared with the mean norm of the
updates before. One that is no finite number, or exploded, is skipped: weights and moments stay as
they are, the schedule goes on. After several skipped in a row, the stage goes back to its newest
state and on with the sentences that follow, a few times; then it ends with a TrainingError.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from nsmt.data.batch import BatchLayout
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import Position
from nsmt.errors import TrainingError
from nsmt.files import replace_text
from nsmt.training.keeping import Remembering
from nsmt.training.settings import DivergenceSettings

_LOG = logging.getLogger(__name__)
# The mean norm forgets at this rate, and is compared with from so many updates on.
_DECAY = 0.99
_ENOUGH = 20
# Batches of unusual updates that are written down; later ones are only counted.
_WRITTEN = 100


class RollBackError(Exception):
    """Asks for the newest state, with the plan going on at `position`; every rank raises it."""

    def __init__(self, problem: str, *, fix: str, position: Position, rollbacks: int) -> None:
        """`rollbacks` counts this one and those of the stage before it."""
        super().__init__(problem)
        self.problem = problem
        self.fix = fix
        self.position = position
        self.rollbacks = rollbacks


class Guard(Remembering):
    """Looks at every update's gradients before they are used.

    `unusual.jsonl` in the stage's folder holds the sentences of what was skipped or spiked.
    """

    def __init__(self, settings: DivergenceSettings, *, folder: Path, rollbacks: int = 0) -> None:
        self.settings = settings
        self.path = folder / "unusual.jsonl"
        self.rollbacks = rollbacks
        self.skipped = self.spikes = 0
        self._in_row = self._seen = 0
        self._mean = 0.0
        self._position = Position()

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """Remember whose gradients come next."""
        del trainer, pl_module, batch_idx
        assert batch.position is not None  # noqa: S101 -- planned batches have one
        self._position = batch.position

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Take the gradients away if they must not be used."""
        del pl_module
        norm = gradient_norm(optimizer)
        why = self._judged(norm)
        if why is None:
            self._in_row = 0
            self._learn(norm)
            return
        spike = why == "spike"
        self.spikes += spike
        self.skipped += not spike
        self._in_row = 0 if spike else self._in_row + 1
        if spike:
            self._learn(norm)
        else:
            # An optimiser leaves parameters without gradients alone, and their moments.
            optimizer.zero_grad(set_to_none=True)
        self._tell(trainer, why, norm)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """After too many in a row, go back; after too many times, stop."""
        del pl_module, outputs, batch, batch_idx
        if self._in_row < self.settings.patience:
            return
        problem = (
            f"{self._in_row} updates in a row had no gradients that could be used, the last of "
            f"them update {trainer.global_step}; their sentences are in {self.path}"
        )
        fix = "lower the learning rate, set optimizer.clip_norm, or train with precision 32-true"
        if self.rollbacks >= self.settings.rollbacks:
            raise TrainingError(f"{problem}; went back {self.rollbacks} times", fix=fix)
        raise RollBackError(
            problem,
            fix=fix,
            position=self._position.following(),
            rollbacks=self.rollbacks + 1,
        )

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The counts, and what norms are usual."""
        numbers = {
            "skipped": self.skipped,
            "spikes": self.spikes,
            "rollbacks": self.rollbacks,
            "in_row": self._in_row,
            "seen": self._seen,
            "mean": self._mean,
        }
        return {}, numbers

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from them."""
        del tensors
        self.skipped, self.spikes = numbers["skipped"], numbers["spikes"]
        self._seen, self._mean = numbers["seen"], numbers["mean"]
        if numbers["rollbacks"] >= self.rollbacks:
            self.rollbacks, self._in_row = numbers["rollbacks"], numbers["in_row"]
        # Otherwise the state is from before a roll-back, after which counting in a row begins anew.

    def _judged(self, norm: float) -> str | None:
        if not math.isfinite(norm):
            return "not finite"
        if self._seen < _ENOUGH:
            return None
        if norm > self.settings.explosion * self._mean:
            return "explosion"
        return "spike" if norm > self.settings.spike * self._mean else None

    def _learn(self, norm: float) -> None:
        self._seen += 1
        # The first norms count alike.
        weight = max(1 / self._seen, 1 - _DECAY)
        self._mean += weight * (norm - self._mean)

    def _tell(self, trainer: pl.Trainer, why: str, norm: float) -> None:
        update = trainer.global_step + 1
        done = "taken" if why == "spike" else "skipped"
        if not trainer.is_global_zero:
            return
        message = "update %d is %s (%s): gradient norm %.4g, usually %.4g; its sentences are in %s"
        _LOG.warning(message, update, done, why, norm, self._mean, self.path)
        if self.skipped + self.spikes > _WRITTEN:
            return
        data: TranslationData = trainer.datamodule  # type: ignore[attr-defined]
        head = {"update": update, "why": why, "norm": repr(norm), "usual": self._mean}
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        # A stage that goes on from a state meets the same update again, and that is told once.
        known = {_event(json.loads(line)) for line in text.split("\n")[:-1]}
        told = [head | pair for pair in data.sentences_of(self._position)]
        new = [json.dumps(each, ensure_ascii=False) for each in told if _event(each) not in known]
        replace_text(self.path, text + "".join(f"{line}\n" for line in new))


def _event(line: Mapping[str, Any]) -> str:
    """What a line tells, but for figures that another number of ranks rounds otherwise."""
    return json.dumps({key: line[key] for key in line.keys() - {"norm", "usual"}}, sort_keys=True)


def gradient_norm(optimizer: torch.optim.Optimizer) -> float:
    """The norm of all gradients together, over all parts that ranks hold."""
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    norm = torch.nn.utils.get_total_norm(gradients)
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return float(norm)
