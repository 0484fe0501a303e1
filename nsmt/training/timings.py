"""`timings.json`: the seconds that a run spent on each stage and on identification.

Of all attempts together; what an attempt did before it was killed outright is not known. Nothing
depends on them: they are for tables of what methods cost.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nsmt.errors import DataError
from nsmt.files import replace_text
from nsmt.training.world import rank

TIMINGS: Final = "timings.json"
_VERSION: Final = 1


@contextmanager
def timed(folder: Path, name: str) -> Iterator[None]:
    """Add the time of the block to what the run in `folder` spent on `name`, in the first rank."""
    start = time.monotonic()
    try:
        yield
    finally:
        if rank() == 0:
            seconds = recorded_seconds(folder)
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - start, 3)
            text = json.dumps({"schema": _VERSION, "seconds": seconds}, indent=1)
            replace_text(folder / TIMINGS, text + "\n")


def recorded_seconds(folder: Path) -> dict[str, float]:
    """Seconds by stage; empty where nothing was recorded, DataError if the file is damaged."""
    path = folder / TIMINGS
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != _VERSION:
            raise ValueError(f"schema {found['schema']}, expected {_VERSION}")
        return {str(name): float(value) for name, value in found["seconds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged: {error}", fix="delete it: only times are lost with it"
        ) from None
