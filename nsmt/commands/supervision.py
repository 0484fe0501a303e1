"""One child process and its end: signals go on to it, and it does not outlive its parent.

Jobs of a sweep run in processes of their own, so that what ends one of them (a fault, memory, a
signal) ends neither the others nor the launcher, and none inherits another's state.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from nsmt.commands.processes import die_with_parent
from nsmt.training.signals import STOPPING

# What clusters send to all processes of a job, meant for the one that requeues it.
_NOT_FOR_JOBS: Final = (signal.SIGUSR2, signal.SIGCONT)
_GRACE_S: Final = 60.0
_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status, below zero for a signal; and whether we were told to."""

    status: int
    asked: signal.Signals | None

    @property
    def killed_by(self) -> str | None:
        """The name of the signal that ended the child."""
        return signal.Signals(-self.status).name if self.status < 0 else None


@dataclass(slots=True)
class _Child:
    """A running child, and what it was asked by."""

    process: subprocess.Popen[bytes]
    asked: list[signal.Signals] = field(default_factory=list)

    def ask(self, number: signal.Signals) -> None:
        self.asked.append(number)
        self.process.send_signal(number)

    def end(self) -> None:
        """Where waiting was broken off, by whatever: let the child save."""
        if self.process.poll() is not None:
            return
        # A second request would mean: at once.
        if not self.asked:
            self.ask(signal.SIGTERM)
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# There is one at most.
_RUNNING: list[_Child] = []


def end_running(*, patience_s: float) -> None:
    """From a signal handler: have the child that is waited for save its state and end.

    Waits so long for it; `run_child` goes on to wait where this is given up.
    """
    for child in _RUNNING:
        if not child.asked:
            child.ask(signal.SIGTERM)
        deadline = time.monotonic() + patience_s
        # Popen cannot wait here: it does already, below this handler, and holds its lock.
        left = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while os.waitid(os.P_PID, child.process.pid, left) is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)


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
    process = subprocess.Popen(  # noqa: S603 -- our own module
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
    child = _Child(process)
    _RUNNING.append(child)

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        if own_terminal or number != signal.SIGINT:
            child.ask(signal.Signals(number))

    before = {number: signal.signal(number, forward) for number in STOPPING}
    try:
        _give(process, given)
        status = process.wait()
    finally:
        child.end()
        _RUNNING.remove(child)
        for number, handler in before.items():
            signal.signal(number, handler)
    return Ended(status, child.asked[0] if child.asked else None)


def _give(child: subprocess.Popen[bytes], text: str) -> None:
    assert child.stdin is not None  # noqa: S101 -- narrows the type
    # One that ended before it read is told by its status.
    with suppress(BrokenPipeError), child.stdin as stream:
        stream.write(text.encode())


def _in_child() -> None:
    die_with_parent(signal.SIGTERM)
    for number in _NOT_FOR_JOBS:
        signal.signal(number, signal.SIG_IGN)
