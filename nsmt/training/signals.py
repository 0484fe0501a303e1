"""Asking a run to stop: signals are heard from a command's beginning to its end.

While a stage trains, a signal sets a flag and the run ends where its state is whole; outside of
that, where all that is written is written whole or not at all, it ends at once.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Self

from nsmt.errors import PreemptionError

STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
# Linux tells of a parent's death once for each of its threads, and launchers pass signals on that
# a process group got already.
_ONE_REQUEST_S: Final = 3.0

GO_ON: Final = "run the same command again to go on"
Tell = Callable[[signal.Signals], None]


class StopSignal:
    """The first signal is remembered in `asked`; a second one, seconds later, ends the process."""

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._since = 0.0
        self._holding = False
        self._tell: Tell | None = None

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Within the block signals are heard; before and after, they do what they did."""
        before = {number: signal.signal(number, self._heard) for number in STOPPING}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def holding(self, tell: Tell | None = None) -> Iterator[None]:
        """Within the block signals only ask; whoever works there looks at `asked`, at its end we.

        `tell` is called with each of them, where they are to go on to other processes.
        """
        self.obey()
        self._holding, self._tell = True, tell
        try:
            yield
        finally:
            self._holding, self._tell = False, None
        self.obey()

    def obey(self) -> None:
        """Raise a PreemptionError if a signal came."""
        if self.asked is not None:
            raise PreemptionError(
                f"stopped by {self.asked.name}; what was finished is kept",
                fix=GO_ON,
            )

    def _heard(self, number: int, frame: FrameType | None) -> None:
        # Nothing is written here: that is how checkpoints get torn.
        del frame
        asked, now = signal.Signals(number), time.monotonic()
        if self._tell is not None:
            self._tell(asked)
        if self.asked is None:
            self.asked, self._since = asked, now
            if not self._holding:
                self.obey()
        elif self._tell is None and now - self._since > _ONE_REQUEST_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
