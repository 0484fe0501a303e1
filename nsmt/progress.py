"""Progress on the terminal: bars for every long step, and none where they are not wanted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import IO, BinaryIO, TypeVar, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    wrap_file,
)

_T = TypeVar("_T")

# Results go to standard output; what only a person watching needs goes here.
console = Console(stderr=True)


def result_console() -> Console:
    """Where results are printed; off a terminal, wide enough for tables not to break."""
    return Console(width=None if sys.stdout.isatty() else 120)


def progress_bar(*, shown: bool = True) -> Progress:
    """Bars with count, time spent, time left and a `status` field, which every task must give."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[status]}"),
        console=console,
        refresh_per_second=4,
        disable=not shown,
    )


def open_with_progress(
    stream: IO[bytes], size: int, description: str, *, shown: bool
) -> AbstractContextManager[BinaryIO]:
    """The stream itself, its reading shown as a bar."""
    binary = cast("BinaryIO", stream)
    return wrap_file(binary, size, description=description, console=console, disable=not shown)


@contextmanager
def step(description: str, *, shown: bool) -> Iterator[Progress]:
    """Bars for the parts of one step; the description is printed first."""
    columns = (
        SpinnerColumn(),
        TextColumn(f"{description} {{task.description}}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        yield progress


def each(items: Mapping[str, _T], progress: Progress) -> Iterator[_T]:
    """Iterate over the values with one bar, labelled by the current key."""
    task = progress.add_task("", total=len(items))
    for label, item in items.items():
        progress.update(task, description=escape(label))
        yield item
        progress.advance(task)
