"""Processes that belong together: none outlives its parent, and signals reach all ranks."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from nsmt.training.signals import StopSignal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals, *, named: str | None = None) -> None:
    """Have Linux send this process a signal when its parent ends; elsewhere, nothing.

    The parent may have ended already: it has if none of its words is `named`.
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    if named is not None and named not in _words(os.getppid()):
        os.kill(os.getpid(), number)


def _words(process: int) -> list[str]:
    """The command line of a process, empty if there is none."""
    try:
        told = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode(errors="replace") for word in told.split(b"\0")]


def run_ranks(command: Sequence[str], *, environment: Mapping[str, str], stop: StopSignal) -> int:
    """Run a launcher of ranks to its end; its exit status, or a PreemptionError after a signal.

    Signals that ask this process to stop go on to the ranks and not to the launcher, which would
    give them little time. If this process dies, the launcher ends the ranks.
    """
    launcher = subprocess.Popen(  # noqa: S603 -- our own module
        command,
        env={**os.environ, **environment},
        # Else the terminal would interrupt the launcher too.
        start_new_session=True,
        # Nothing is imported or allocated there but what is here already.
        preexec_fn=partial(die_with_parent, signal.SIGTERM),
    )

    def forward(number: signal.Signals) -> None:
        for rank in _children(launcher.pid) or [launcher.pid]:
            # It may just have ended.
            with suppress(ProcessLookupError):
                os.kill(rank, number)

    with stop.holding(forward):
        return launcher.wait()


def descendants(process: int) -> list[int]:
    """The processes that a process started, and those that they started, where the system tells."""
    return [each for child in _children(process) for each in (child, *descendants(child))]


def _children(process: int) -> list[int]:
    """The processes that a process started, where the system tells."""
    try:
        told = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:
        # It has just ended.
        return []
    return [int(child) for text in told for child in text.split()]
