"""One child process and its end: signals go on to it, and it does not outlive its parent.

Jobs of a sweep run in processes of their own, so that what ends one of them (a fault, memory, a
signal) ends neither the others nor the launcher, and none inherits another's state.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from nsmt.commands.processes import die_with_parent
from nsmt.training.signals import STOPPING

# What clusters send to all processes of a job, meant for the one that requeues it.
_NOT_FOR_JOBS: Final = (signal.SIGUSR2, signal.SIGCONT)
_GRACE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status, below zero for a signal; and whether we were told to."""

    status: int
    asked: signal.Signals | None

    @property
    def killed_by(self) -> str | None:
        """The name of the signal that ended the child."""
        return signal.Signals(-self.status).name if self.status < 0 else None


def run_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    given: str,
    log: Path | None = None,
    own_terminal: bool = True,
) -> Ended:
    """Run a command to its end, with a text to read; its output goes to ours, or on in a log.

    Signals that ask to stop reach the child once. Without a terminal of its own, an interrupt is
    left to the parent: that one ends this process, and the end of this process tells the child.
    """
    output = None
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        output = log.open("ab")
    child = subprocess.Popen(  # noqa: S603 -- our own module
        command,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        # Else the terminal would interrupt it too, and a second signal means: at once.
        start_new_session=True,
        # Nothing is imported or allocated there but what is here already.
        preexec_fn=_in_child,
    )
    if output:
        output.close()
    asked: list[signal.Signals] = []

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if own_terminal or number != signal.SIGINT:
            asked.append(signal.Signals(number))
            child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in STOPPING}
    try:
        _give(child, given)
        status = child.wait()
    finally:
        _end(child)
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ended(status, asked[0] if asked else None)


def _give(child: subprocess.Popen[bytes], text: str) -> None:
    assert child.stdin is not None  # noqa: S101 -- narrows the type
    # One that ended before it read is told by its status.
    with suppress(BrokenPipeError), child.stdin as stream:
        stream.write(text.encode())


def _in_child() -> None:
    die_with_parent(signal.SIGTERM)
    for number in _NOT_FOR_JOBS:
        signal.signal(number, signal.SIG_IGN)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Where waiting was broken off, by a cluster that takes the job back: let the child save."""
    if child.poll() is not None:
        return
    child.terminate()
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
