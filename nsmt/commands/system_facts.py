"""What the files of a run say of its systems: parameters, updates, masks, and their times."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from nsmt.errors import DataError
from nsmt.methods import CONTROL
from nsmt.models.checkpoint import ATLAS, MODEL, WEIGHT_MASKS, WEIGHTS
from nsmt.models.systems import CHECKPOINT
from nsmt.reporting.reproduction import Trained


def trained_systems(run: Path, stages: Sequence[str]) -> dict[str, Trained]:
    """The parameters and updates of each system of a run."""
    found = {
        name: Trained(parameters(run / name), updates(run / name), tuning_updates(run / name))
        for name in stages
    }
    # What is masked at inference alone is the control, and was trained as that was.
    control = found.get(CONTROL)
    return {
        name: replace(each, updates=control.updates)
        if each.updates == (0,) and control is not None
        else each
        for name, each in found.items()
    }


def parameters(system: Path) -> int | None:
    """Of all models of a system; None where there are none."""
    paths = _files(system, WEIGHTS)
    return sum(map(_elements, paths)) if paths else None


def updates(system: Path) -> tuple[int, ...]:
    """The updates of the stage that made each model of a system, every number once."""
    found = set()
    for path in _files(system, MODEL):
        try:
            history = json.loads(path.read_text(encoding="utf-8"))["history"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} does not tell how it was made ({error!r})", fix="train the run again"
            ) from error
        # A checkpoint from elsewhere need not say.
        if "updates" in history:
            found.add(int(history["updates"]))
    return tuple(sorted(found))


def tuning_updates(system: Path) -> tuple[int, ...]:
    """Of the models that a system's masks were found in, every number once, as the masks tell."""
    found = set()
    for path in _files(system, WEIGHT_MASKS):
        joined = _metadata(path).get("provenance", {}).get("joined", ())
        found |= {int(each["updates"]) for each in joined if "updates" in each}
    return tuple(sorted(found))


def mask_bytes(system: Path) -> int | None:
    """Files of masks in a system's checkpoints."""
    paths = [
        path
        for path in system.rglob("*.safetensors")
        if path.parent.name == CHECKPOINT and ("mask" in path.name or path.name == ATLAS)
    ]
    return sum(path.stat().st_size for path in paths) if paths else None


def _files(system: Path, name: str) -> list[Path]:
    """Of the one checkpoint of a system, or of those of its parts."""
    whole = system / CHECKPOINT / name
    return [whole] if whole.is_file() else sorted(system.glob(f"*/{CHECKPOINT}/{name}"))


def _elements(path: Path) -> int:
    with _opened(path) as file:
        return sum(
            math.prod(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118 -- no mapping
        )


def _metadata(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        return dict(json.loads((file.metadata() or {}).get("nsmt", "{}")))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of tensors, of which none is read."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise DataError(
            f"{path} is damaged: {error}", fix="delete its stage's folder, and run it again"
        ) from error
