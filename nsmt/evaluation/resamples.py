"""Scores on resampled test sets, kept so that runs can be paired with each other later.

A comparison pairs the systems of one run. What runs of several seeds show together, and what a
method has over another that a different run trained, needs the scores of both on the same
resamples: these depend on the test sets and the seed of the bootstrap alone, and each run keeps its
own (some MB) with the name of the draw. Whoever pairs runs sees to it that they are of one text.

Shapes: S resamples, D directions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from nsmt.errors import DataError
from nsmt.evaluation.significance import Floats, Units
from nsmt.files import replace_file
from nsmt.languages import Direction
from nsmt.tensors import save_tensors

SCHEMA: Final = "1"


@dataclass(frozen=True, eq=False, slots=True)
class Resamples:
    """`values[system][metric][direction]` are scores [S]; `drawn` is their `draw_name`."""

    values: Mapping[str, Mapping[str, Mapping[Direction, Floats]]]
    drawn: str

    def mean(self, system: str, metric: str, directions: Sequence[Direction]) -> Floats | None:
        """The means [S] over directions; None if one of them has no such score."""
        found = self.values.get(system, {}).get(metric, {})
        if not directions or any(direction not in found for direction in directions):
            return None
        return np.asarray(np.mean([found[direction] for direction in directions], axis=0))

    def save(self, path: Path) -> None:
        """Write them as safetensors, [D, S] in 32 bits a system and metric."""
        tensors, directions = {}, {}
        for system, of_system in self.values.items():
            for metric, of_metric in of_system.items():
                key = f"{system}/{metric}"
                values_DS = np.stack(list(of_metric.values())).astype(np.float32)
                tensors[key] = torch.from_numpy(values_DS)
                directions[key] = [str(direction) for direction in of_metric]
        metadata = {"schema": SCHEMA, "drawn": self.drawn, "directions": json.dumps(directions)}
        with replace_file(path) as building:
            save_tensors(building, tensors, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> Resamples:
        """Read what `save` wrote; a DataError if it is something else."""
        values: dict[str, dict[str, dict[Direction, Floats]]] = {}
        try:
            with safe_open(path, framework="pt") as file:
                told = file.metadata() or {}
                if told.get("schema") != SCHEMA:
                    raise ValueError(f"schema {told.get('schema')}, expected {SCHEMA}")
                for key, names in json.loads(told["directions"]).items():
                    system, _, metric = key.partition("/")
                    values_DS = file.get_tensor(key).numpy().astype(np.float64)
                    values.setdefault(system, {})[metric] = {
                        Direction.parse(name): of_S
                        for name, of_S in zip(names, values_DS, strict=True)
                    }
                return cls(values, told["drawn"])
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} holds no resampled scores ({error})",
                fix="evaluate the run again with this version of nsmt",
            ) from error


def draw_name(
    sentences: Mapping[Direction, int],
    *,
    samples: int,
    seed: int,
    together: bool,
    units: Mapping[Direction, Units] | None,
) -> str:
    """A name that two draws from the same test sets share only if resample s is one in both.

    It knows how many sentences there are, and which say the same, but not what: that test sets are
    the same has to be known from elsewhere, as from the fingerprint of the data.
    """
    digest = hashlib.sha256(json.dumps([samples, seed, together]).encode())
    for direction, count in sentences.items():
        digest.update(f"\n{direction} {count}".encode())
        if units is not None:
            digest.update(f" {units[direction].number}:".encode())
            digest.update(np.asarray(units[direction].of_N, dtype="<i8").tobytes())
    return digest.hexdigest()
