"""Updates that would ruin a model: skipped, counted, written down, and undone if they go on.

An update's gradient norm, over all parameters and ranks, is compared with the mean norm of the
updates before. One that is no finite number, or exploded, is skipped: weights and moments stay as
they are, the schedule goes on. After several skipped in a row, the stage goes back to its newest
state and on with the sentences that follow, a few times; then it ends with a TrainingError.

The verdict is found on the device, and the fused optimiser obeys it there. A GPU is not waited for:
the host hears of an update one update later.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
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
# What is found of an update, by its number on the device.
_VERDICTS = (None, "spike", "explosion", "not finite")
_SKIPPED = 2
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


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is found of an update, on its way to the host."""

    update: int
    position: Position
    # Norm, usual norm and place in _VERDICTS: float64 [3].
    found: Tensor
    there: torch.cuda.Event | None

    @classmethod
    def sent(cls, found: Tensor, *, update: int, position: Position) -> _Verdict:
        """Ask for it, and wait for nothing."""
        if found.device.type != "cuda":
            return cls(update, position, found, None)
        to = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
        to.copy_(found, non_blocking=True)
        there = torch.cuda.Event()  # type: ignore[no-untyped-call]
        there.record()
        return cls(update, position, to, there)

    def read(self) -> tuple[float, float, str | None]:
        """Norm, usual norm, and what is wrong if anything is."""
        if self.there is not None:
            self.there.synchronize()
        norm, usual, place = self.found.tolist()
        return norm, usual, _VERDICTS[int(place)]


class Guard(Remembering):
    """Judges every update's gradients before they are used.

    `unusual.jsonl` in the stage's folder holds the sentences of what was skipped or spiked.
    """

    def __init__(self, settings: DivergenceSettings, *, folder: Path, rollbacks: int = 0) -> None:
        self.settings = settings
        self.path = folder / "unusual.jsonl"
        self.rollbacks = rollbacks
        self._skipped = self._spikes = self._in_row = 0
        # Norms learnt from, and their mean: float64 [2], on the device.
        self._usual = torch.zeros(2, dtype=torch.float64)
        self._position = Position()
        self._trainer: pl.Trainer | None = None
        self._on_their_way: list[_Verdict] = []
        # The last of too many in a row, and how many they were.
        self._too_many: tuple[_Verdict, int] | None = None

    @property
    def skipped(self) -> int:
        """Updates skipped so far; waits for the device."""
        self._hear()
        return self._skipped

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """Remember whose gradients come next."""
        del pl_module, batch_idx
        assert batch.position is not None  # noqa: S101 -- planned batches have one
        self._position, self._trainer = batch.position, trainer

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Tell the optimiser to leave everything alone if gradients must not be used."""
        norm = gradient_norm(optimizer).to(pl_module.device)
        self._usual = self._usual.to(pl_module.device)
        found, self._usual = judged(norm, self._usual, self.settings)
        # What torch's own gradient scaler tells a fused optimiser.
        optimizer.found_inf = (found[2] >= _SKIPPED).float()  # type: ignore[attr-defined]
        update = trainer.global_step + 1
        verdict = _Verdict.sent(found, update=update, position=self._position)
        self._on_their_way.append(verdict)
        self._hear(but=1 if _waits_for_nobody(pl_module.device) else 0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """After too many in a row, go back; after too many times, stop."""
        del trainer, pl_module, outputs, batch, batch_idx
        if self._too_many is None:
            return
        last, count = self._too_many
        problem = (
            f"{count} updates in a row had no gradients that could be used, the last of "
            f"them update {last.update}; their sentences are in {self.path}"
        )
        fix = "lower the learning rate, set optimizer.clip_norm, or train with precision 32-true"
        if self.rollbacks >= self.settings.rollbacks:
            raise TrainingError(f"{problem}; went back {self.rollbacks} times", fix=fix)
        raise RollBackError(
            problem,
            fix=fix,
            position=last.position.following(),
            rollbacks=self.rollbacks + 1,
        )

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hear of the last update too."""
        del trainer, pl_module
        self._hear()

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The counts, and what norms are usual."""
        self._hear()
        seen, mean = self._usual.tolist()
        numbers = {
            "skipped": self._skipped,
            "spikes": self._spikes,
            "rollbacks": self.rollbacks,
            "in_row": self._in_row,
            "seen": int(seen),
            "mean": mean,
        }
        return {}, numbers

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from them."""
        del tensors
        self._skipped, self._spikes = numbers["skipped"], numbers["spikes"]
        self._usual = torch.tensor([numbers["seen"], numbers["mean"]], dtype=torch.float64)
        if numbers["rollbacks"] >= self.rollbacks:
            self.rollbacks, self._in_row = numbers["rollbacks"], numbers["in_row"]
        # Otherwise the state is from before a roll-back, after which counting in a row begins anew.

    def _hear(self, *, but: int = 0) -> None:
        """Count and tell what was found of updates, of all but the newest."""
        while len(self._on_their_way) > but:
            verdict = self._on_their_way.pop(0)
            norm, usual, why = verdict.read()
            if why is None:
                self._in_row = 0
                continue
            spike = why == "spike"
            self._spikes += spike
            self._skipped += not spike
            self._in_row = 0 if spike else self._in_row + 1
            # Whatever comes after them, it will be done again.
            if self._in_row >= self.settings.patience and self._too_many is None:
                self._too_many = verdict, self._in_row
            self._tell(verdict, why, norm, usual)

    def _tell(self, verdict: _Verdict, why: str, norm: float, usual: float) -> None:
        assert self._trainer is not None  # noqa: S101 -- there was an update
        if not self._trainer.is_global_zero:
            return
        done = "taken" if why == "spike" else "skipped"
        message = "update %d is %s (%s): gradient norm %.4g, usually %.4g; its sentences are in %s"
        _LOG.warning(message, verdict.update, done, why, norm, usual, self.path)
        if self._skipped + self._spikes > _WRITTEN:
            return
        data: TranslationData = self._trainer.datamodule  # type: ignore[attr-defined]
        head = {"update": verdict.update, "why": why, "norm": repr(norm), "usual": usual}
        text = self.path.read_text(encoding="utf-8") if self.path.is_file() else ""
        # A stage that goes on from a state meets the same update again, and that is told once.
        known = {_event(json.loads(line)) for line in text.split("\n")[:-1]}
        told = [head | pair for pair in data.sentences_of(verdict.position)]
        new = [json.dumps(each, ensure_ascii=False) for each in told if _event(each) not in known]
        replace_text(self.path, text + "".join(f"{line}\n" for line in new))


def _event(line: Mapping[str, Any]) -> str:
    """What a line tells, but for figures that another number of ranks rounds otherwise."""
    return json.dumps({key: line[key] for key in line.keys() - {"norm", "usual"}}, sort_keys=True)


def judged(norm: Tensor, usual: Tensor, settings: DivergenceSettings) -> tuple[Tensor, Tensor]:
    """What is found of an update with that gradient norm, and what is usual after it.

    `usual` holds how many norms were learnt from and their mean, float64 [2]; what is found is
    norm, usual norm and place in _VERDICTS, float64 [3]. On the norm's device, which nothing waits
    for.
    """
    norm, (seen, mean) = norm.double(), usual.unbind()
    finite, enough = norm.isfinite(), seen >= _ENOUGH
    exploded = finite & enough & (norm > settings.explosion * mean)
    spiked = finite & enough & (norm > settings.spike * mean) & ~exploded
    # Sums, as numbers of the host in torch.where would be copied, which waits.
    place = spiked.double() + 2 * exploded.double() + 3 * (~finite).double()
    # The first norms count alike.
    weight = (1 / (seen + 1)).clamp_min(1 - _DECAY)
    learnt = torch.stack([seen + 1, mean + weight * (norm - mean)])
    found = torch.stack([norm, mean, place])
    return found, torch.where(place < _SKIPPED, learnt, usual)


def gradient_norm(optimizer: torch.optim.Optimizer) -> Tensor:
    """The norm of all gradients together, over all parts that ranks hold."""
    gradients = [
        parameter.grad
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def _waits_for_nobody(device: torch.device) -> bool:
    """Whether the host runs ahead of the device, and had better not ask it at once."""
    return device.type == "cuda"
