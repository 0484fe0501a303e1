"""States of a stage while it trains: taken, written, put back, and asked for by a signal.

A state is taken at the end of an update and, where a validation is due there, after it: what comes
next is always another update. The last update of a stage has none, its checkpoint is what is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors import SafetensorError
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import Position
from nsmt.errors import PreemptionError
from nsmt.training import snapshot
from nsmt.training.keeping import Remembering
from nsmt.training.module import TranslationModule
from nsmt.training.settings import StateSettings
from nsmt.training.signals import GO_ON, StopSignal
from nsmt.training.states import (
    STATES,
    StageState,
    discard,
    load_state,
    save_state,
    state_folder,
    updates_on_disk,
)
from nsmt.training.terms import Terms
from nsmt.training.throughput import Stopwatch
from nsmt.training.trainer import set_loops

_LOG = logging.getLogger(__name__)
# Ranks agree on whether to stop once in so many updates: on a GPU, asking makes it wait.
_AGREE_EVERY = {"cpu": 1, "cuda": 10}


class Resuming(pl.Callback):
    """Puts a state back before a stage begins, and takes new ones; must be the last callback."""

    def __init__(
        self,
        settings: StateSettings,
        *,
        folder: Path,
        origin: Mapping[str, str | None],
        terms: Terms,
        state: StageState | None,
        stop: StopSignal,
        members: Mapping[str, Remembering],
        validate_every: int,
        seed: int,
        watch: Stopwatch,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.origin = origin
        self.terms = terms
        self.stop = stop
        self.members = members
        self.validate_every = validate_every
        self.seed = seed
        self.watch = watch
        self._state = state
        self._update = 0
        self._position = Position()
        self._values: dict[int, float] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="states")
        self._written: Future[None] | None = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put weights, moments, schedule, counters, the place in the plan and callbacks back."""
        # The first rank has looked for it, so that all go on from the same.
        place = None if self._state is None else (self._state.update, self._state.position)
        place = trainer.strategy.broadcast(place)
        if place is None:
            return
        if self._state is None:
            self._state = load_state(state_folder(self.folder / STATES, place[0]))
            self._state.position = place[1]
        state, module = self._state, _module(pl_module)
        snapshot.put_weights(module.model, state.part("model"))
        optimizer = trainer.optimizers[0]
        snapshot.put_moments(optimizer, module.model, state.part("moments"))
        schedule = trainer.lr_scheduler_configs[0].scheduler
        snapshot.put_schedule(schedule, done=state.numbers["schedule"]["last_epoch"])
        for name, member in self.members.items():
            member.recall(state.part(f"callbacks/{name}"), state.numbers["callbacks"][name])
        self._values = {int(update): value for update, value in state.numbers["values"].items()}
        _data(trainer).position = state.position
        set_loops(trainer, update=state.update)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put random generators and sums back, last of all."""
        self._update = trainer.global_step
        if self._state is None:
            return
        rank, world = trainer.global_rank, trainer.world_size
        ranks = self._state.numbers["ranks"]
        sums = torch.tensor([each["sums"] for each in ranks], dtype=torch.float64)
        if world == len(ranks):
            snapshot.put_random_state(ranks[rank]["random"])
            mine = sums[rank]
        else:
            # Another number of ranks has other dropout; sums are only ever added up.
            torch.manual_seed(self.seed + 1_000_003 * rank + 7_919 * self._update)
            mine = sums.sum(0) if rank == 0 else torch.zeros_like(sums[0])
        _module(pl_module).trained.copy_(mine)
        # They are of the time before.
        _module(pl_module).leave_untimed()
        self._state = None

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """At the end of an update without validation: take a state if it is time."""
        del outputs, batch_idx
        if trainer.global_step == self._update:
            return
        self._update = trainer.global_step
        assert batch.position is not None  # noqa: S101 -- planned batches have one
        self._position = batch.position.following()
        if self._update % self.validate_every:
            self._at_boundary(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The same after a validation; a state knows how good it is."""
        self._values[self._update] = trainer.callback_metrics["valid/nll"].item()
        self._at_boundary(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for what is being written."""
        del trainer, pl_module
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """The same."""
        del trainer, pl_module, exception
        self._close()

    def _at_boundary(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._update >= trainer.max_steps or trainer.should_stop:
            return
        asked = self._asked(trainer)
        if asked or self._update % self.settings.every == 0:
            with self.watch.paused():
                self._take(trainer, _module(pl_module))
        if asked:
            self._finish_writing()
            # Launchers end all ranks when one has ended: none does before the state is written.
            snapshot.wait_for_all_ranks()
            raise PreemptionError(
                f"stopped by a signal after update {self._update}{self._whereabouts(trainer)}",
                fix=GO_ON,
            )

    def _whereabouts(self, trainer: pl.Trainer) -> str:
        """What the next start will find, as the first rank knows."""
        if not trainer.is_global_zero:
            return ""
        states = self.folder / STATES
        written = updates_on_disk(states)
        if self._update in written:
            return f"; its state is in {state_folder(states, self._update)}"
        kept = f"the newest is after update {written[-1]}" if written else "there is none before"
        return f"; its state could not be written, {kept}"

    def _asked(self, trainer: pl.Trainer) -> bool:
        """Whether a signal reached any rank; all ranks get the same answer."""
        if trainer.world_size == 1:
            return self.stop.asked is not None
        if self._update % _AGREE_EVERY[trainer.strategy.root_device.type]:
            return False
        mine = self.stop.asked is not None
        return trainer.strategy.reduce_boolean_decision(mine, all=False)

    def _take(self, trainer: pl.Trainer, module: TranslationModule) -> None:
        """Copy everything, on all ranks, and have the first write it."""
        tensors: dict[str, Tensor] = {}
        optimizer = trainer.optimizers[0]
        # Where every rank has all of them, the others need not copy.
        if trainer.is_global_zero or snapshot.is_sharded(module.model):
            tensors |= _under("model", snapshot.weights_of(module.model))
            tensors |= _under("moments", snapshot.moments_of(optimizer, module.model))
        callbacks = {}
        for name, member in self.members.items():
            kept, callbacks[name] = member.remember()
            tensors |= _under(f"callbacks/{name}", kept)
        mine = {"random": snapshot.random_state(), "sums": module.trained.tolist()}
        numbers = {
            "schedule": {"last_epoch": trainer.lr_scheduler_configs[0].scheduler.last_epoch},
            "ranks": snapshot.of_all_ranks(mine),
            "callbacks": callbacks,
            # A copy: it is written while training goes on.
            "values": dict(self._values),
        }
        if not trainer.is_global_zero:
            return
        self._finish_writing()
        metrics = self.folder / "metrics.csv"
        state = StageState(
            self._update,
            self._position,
            self.origin,
            tensors,
            numbers,
            metrics.read_text(encoding="utf-8") if metrics.is_file() else "",
            self.terms,
        )
        self._written = self._writer.submit(self._write, state)

    def _write(self, state: StageState) -> None:
        states = self.folder / STATES
        try:
            save_state(states, state)
        except (OSError, SafetensorError) as error:
            # safetensors has an error of its own for a full disk, which may have room again next
            # time; the state before is whole.
            _LOG.warning(
                "the state after update %d could not be written, training goes on: %s",
                state.update,
                error,
            )
            return
        discard(states, self._superfluous(updates_on_disk(states)))

    def _superfluous(self, updates: Sequence[int]) -> set[int]:
        """All but the last ones, and those that were best on validation."""
        last = updates[-self.settings.keep_last :]
        validated = [update for update in updates if update in self._values]
        best = sorted(validated, key=lambda update: self._values[update])
        return set(updates) - set(last) - set(best[: self.settings.keep_best])

    def _finish_writing(self) -> None:
        if self._written is not None:
            self._written.result()
            self._written = None

    def _close(self) -> None:
        try:
            self._finish_writing()
        finally:
            self._writer.shutdown()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _data(trainer: pl.Trainer) -> TranslationData:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TranslationData)  # noqa: S101 -- narrows the type
    return data


def _module(pl_module: pl.LightningModule) -> TranslationModule:
    assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
    return pl_module
