"""Asking a run to stop: a signal sets a flag, and the run ends where its state is whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopSignal:
    """The first signal is remembered in `asked`; a second one ends the process at once."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None

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
        if self.asked is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.asked = signal.Signals(number)
