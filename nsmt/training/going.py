"""Where a stage stands: the state that it goes on from, and how often it went back."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nsmt.data.plan import Position
from nsmt.errors import CheckpointError, TrainingError
from nsmt.files import remove_unfinished, replace_text
from nsmt.training.divergence import RollBackError
from nsmt.training.snapshot import of_all_ranks, of_first_rank
from nsmt.training.states import (
    STATES,
    StageState,
    discard,
    newest_state,
    updates_on_disk,
)
from nsmt.training.terms import Terms, check_begun
from nsmt.training.world import rank

_LOG = logging.getLogger(__name__)
_WENT_BACK: Final = "went_back.json"
# Weights that a mean is made of, in the folder of states.
AVERAGED: Final = "averaged"


@dataclass(frozen=True, slots=True)
class _WentBack:
    """The last roll-back, kept on disk so that a restart is under its terms too.

    The stage goes on from the state after `update` updates with the plan at `position`; `tried`
    are the states that it went back to so far, and `useless` those still to be deleted.
    """

    update: int
    position: Position
    rollbacks: int
    tried: tuple[int, ...]
    useless: tuple[int, ...] = ()


class Going:
    """One stage; all ranks call the same methods, the first alone looks at the disk.

    `origin` says what a state must have been made from, see `StageState`; it may have been made
    under other terms, as far as these can be changed. The stage is to take `updates` updates.
    """

    def __init__(
        self, folder: Path, origin: Mapping[str, str | None], *, terms: Terms, updates: int
    ) -> None:
        self.folder = folder
        self.states = folder / STATES
        self.origin = dict(origin)
        self.terms = terms
        self.updates = updates
        self.rollbacks = 0
        # Updates done, by the newest state.
        self.update = 0

    def state(self) -> StageState | None:
        """The state to go on from, in the first rank; None for a beginning, and in others.

        CheckpointError, in all ranks, if there are states and none can be gone on from.
        """
        state: StageState | None = None

        def find() -> tuple[int, int]:
            nonlocal state
            state = self._found()
            return self.update, self.rollbacks

        self.update, self.rollbacks = of_first_rank(find)
        return state

    def _found(self) -> StageState | None:
        for folder in (self.folder, self.states, self.states / AVERAGED):
            remove_unfinished(folder)
        went_back = self._went_back()
        if went_back is not None and went_back.useless:
            discard(self.states, went_back.useless)
            # States of these updates that come later are others.
            self._keep(dataclasses.replace(went_back, useless=()))
        found = newest_state(self.states, origin=self.origin)
        if found is None:
            return None
        check_begun(
            found.terms, self.terms, folder=self.folder, done=found.update, updates=self.updates
        )
        # Damaged, and in the way of those that are not.
        discard(self.states, [u for u in updates_on_disk(self.states) if u > found.update])
        if went_back is not None and found.update <= went_back.update:
            found.position, self.rollbacks = went_back.position, went_back.rollbacks
        self.update = found.update
        return found

    def back(self, request: RollBackError) -> None:
        """Have `state` go back; TrainingError if there is nothing to go back to."""
        self.rollbacks = request.rollbacks
        possible = self._choose(request) if rank() == 0 else True
        if not all(of_all_ranks(possible)):
            raise TrainingError(
                f"{request.problem}; there is no state to go back to", fix=request.fix
            )
        _LOG.warning("%s; going back to the newest state", request.problem)

    def clear(self, *, keep_states: bool) -> None:
        """The stage has its checkpoint: its states are not needed to go on."""
        if rank() == 0:
            useless = self.states / AVERAGED if keep_states else self.states
            shutil.rmtree(useless, ignore_errors=True)

    def _choose(self, request: RollBackError) -> bool:
        """Write down which state comes next; whether there is any.

        The newest, but for those that did not help before.
        """
        updates, before = updates_on_disk(self.states), self._went_back()
        if not updates:
            return False
        tried = before.tried if before is not None else ()
        update = max((each for each in updates if each not in tried), default=updates[0])
        self._keep(
            _WentBack(
                update=update,
                position=request.position,
                rollbacks=request.rollbacks,
                tried=(*tried, update),
                useless=tuple(each for each in updates if each > update),
            )
        )
        return True

    def _keep(self, went_back: _WentBack) -> None:
        replace_text(self.states / _WENT_BACK, json.dumps(dataclasses.asdict(went_back)))

    def _went_back(self) -> _WentBack | None:
        path = self.states / _WENT_BACK
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            told["position"] = Position(**told["position"])
            return _WentBack(**told | {each: tuple(told[each]) for each in ("tried", "useless")})
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path} is damaged: {error}",
                fix="delete it to go on from the newest state as if none had been undone",
            ) from error
