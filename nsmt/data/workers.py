"""Work shared out over processes, results in the order of the tasks, memory bounded.

Results come in order and no worker is told which it is, so that what is made does not depend on
how many there are. One worker means this process itself.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self, TypeVar

from nsmt.errors import NsmtError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Tasks waiting for each worker: enough that none is ever idle, few enough to fit in memory.
_AHEAD = 2


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


class WorkerError(NsmtError):
    """A worker that ended before its work."""


class Workers:
    """A pool that starts with its first task; a context manager."""

    def __init__(self, count: int | None = None) -> None:
        """`count` processes, or as many as there are cores."""
        self.count = count or available_cores()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """The results in the order of the tasks, which are taken a few ahead.

        `function` must be importable by name. Its errors are raised here; a worker that was killed
        is a WorkerError.
        """
        if self.count == 1:
            yield from map(function, tasks)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.count,
                # A forked copy of a process with threads (torch, Arrow) may hang.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_follow_parent,
            )
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(self._pool.submit(function, task))
                if len(waiting) > _AHEAD * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise WorkerError(
                "a worker was killed from outside, most often for want of memory",
                fix="run again: finished work is kept; data.workers=1 takes the least memory",
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _follow_parent() -> None:
    """End this worker when its parent is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
