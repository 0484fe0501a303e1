"""One process at a time: a lock that the system takes back when its holder dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsmt.progress import console


@contextmanager
def taking_turns(lock: Path) -> Iterator[None]:
    """Hold the lock of that file; wait, and say so, while another process does."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print(f"waiting for another process to finish its work ({lock})")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
