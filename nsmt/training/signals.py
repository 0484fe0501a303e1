"""Asking a run to stop: a signal sets a flag, and the run ends where its state is whole."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


# Linux tells of a parent's death once for each of its threads, and launchers pass signals on that
# a process group got already.
_ONE_REQUEST_S: Final = 0.5


class StopSignal:
    """The first signal is remembered in `asked`; a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._since = 0.0

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within the block, signals ask; before and after, they do what they did.

        Nothing else is done in the handler: writing there is how checkpoints get torn.
        """
        before = {number: signal.signal(number, self._heard) for number in STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        del frame
        now = time.monotonic()
        if self.asked is None:
            self.asked, self._since = signal.Signals(number), now
        elif now - self._since > _ONE_REQUEST_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
