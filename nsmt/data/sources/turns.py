"""A lock on a folder that several processes fill."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsmt.progress import console


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Make the folder and hold its lock; wait, and say so, while another process does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"waiting for another process to finish its work in {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
