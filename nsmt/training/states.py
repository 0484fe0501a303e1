"""States of a stage on disk: all that a run killed at any moment needs in order to go on.

A state is a folder `states/step-000001500` of safetensors and JSON, written under another name,
synced, renamed, and verified by its manifest before it is used (design contract 7).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from nsmt.data.plan import Position
from nsmt.errors import CheckpointError
from nsmt.files import replace_folder
from nsmt.manifest import verified_manifest, write_manifest
from nsmt.tensors import save_tensors
from nsmt.training.terms import Terms

_LOG = logging.getLogger(__name__)

STATES: Final = "states"
_VERSION: Final = 2
_TENSORS, _NUMBERS, _METRICS = "state.safetensors", "state.json", "metrics.csv"


@dataclass(slots=True)
class StageState:
    """A stage after `update` updates; `position` is where its plan goes on.

    `origin` says what it was made from: the name of the stage, and fingerprints of the weights that
    the stage started from, of its text and of its atlas; `terms` are its settings. `tensors` are
    weights, moments and what callbacks keep; `numbers` is plain JSON; `metrics` is the text of
    metrics.csv so far.
    """

    update: int
    position: Position
    origin: Mapping[str, str | None]
    tensors: Mapping[str, Tensor]
    numbers: dict[str, Any] = field(default_factory=dict)
    metrics: str = ""
    terms: Terms = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix and a stroke, by the rest of their names."""
        start = f"{prefix}/"
        return {k[len(start) :]: v for k, v in self.tensors.items() if k.startswith(start)}


def state_folder(states: Path, update: int) -> Path:
    """Where the state after so many updates is kept."""
    return states / f"step-{update:09d}"


def save_state(states: Path, state: StageState) -> Path:
    """Write a state; what was there before stays until it is whole. OSError if the disk is full."""
    folder = state_folder(states, state.update)
    numbers = {
        "version": _VERSION,
        "update": state.update,
        "position": dataclasses.asdict(state.position),
        "origin": dict(state.origin),
        "terms": dict(state.terms),
        **state.numbers,
    }
    with replace_folder(folder) as building:
        save_tensors(building / _TENSORS, state.tensors)
        (building / _NUMBERS).write_text(json.dumps(numbers), encoding="utf-8")
        (building / _METRICS).write_text(state.metrics, encoding="utf-8")
        write_manifest(building)
    return folder


def load_state(folder: Path) -> StageState:
    """Read and verify a state; anything amiss is a CheckpointError."""
    verified_manifest(folder, required=(_TENSORS, _NUMBERS, _METRICS))
    try:
        numbers = json.loads((folder / _NUMBERS).read_text(encoding="utf-8"))
        if numbers.pop("version") != _VERSION:
            raise CheckpointError(
                f"{folder} was written by another release", fix="go on with that release"
            )
        return StageState(
            update=numbers.pop("update"),
            position=Position(**numbers.pop("position")),
            origin=numbers.pop("origin"),
            # Releases before did not write them.
            terms=numbers.pop("terms", {}),
            tensors=safetensors.torch.load_file(str(folder / _TENSORS)),
            numbers=numbers,
            metrics=(folder / _METRICS).read_text(encoding="utf-8"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} does not describe a state: {error}", fix="delete this folder"
        ) from error


def updates_on_disk(states: Path) -> list[int]:
    """The updates after which there is a state, whole or not, in order."""
    found = (path.name.removeprefix("step-") for path in states.glob("step-*") if path.is_dir())
    return sorted(int(name) for name in found if name.isdecimal())


def newest_state(states: Path, *, origin: Mapping[str, str | None]) -> StageState | None:
    """The newest state that is whole and of this origin; None where there is none at all.

    Others are passed over with a warning. If all are, it is a CheckpointError: to start again from
    nothing is for the user to decide.
    """
    updates = updates_on_disk(states)
    for update in reversed(updates):
        try:
            state = load_state(state_folder(states, update))
            _require_origin(state, origin)
            return state
        except CheckpointError as error:
            _LOG.warning("the state after update %d is passed over: %s", update, error.problem)
    if updates:
        raise CheckpointError(
            f"none of the {len(updates)} states in {states} can be gone on from",
            fix="delete that folder to train this stage from its beginning",
        )
    return None


def discard(states: Path, updates: Collection[int]) -> None:
    """Delete the states after these updates."""
    for update in updates:
        shutil.rmtree(state_folder(states, update), ignore_errors=True)


def _require_origin(state: StageState, origin: Mapping[str, str | None]) -> None:
    different = [name for name in origin if state.origin.get(name) != origin[name]]
    if different:
        raise CheckpointError(
            f"it was made from another {' and '.join(different)}", fix="delete this state"
        )
