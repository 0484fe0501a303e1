"""How a command ends when the user must mend something: one message, status 2, no traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from nsmt.errors import NsmtError
from nsmt.files import DISK_FULL

FAILURE = 2
_INTERRUPTED = 130


@contextmanager
def reporting_failures() -> Iterator[None]:
    """Print an NsmtError and exit; everything else is a fault of ours and keeps its traceback."""
    try:
        yield
    except NsmtError as error:
        show_failure(error)
        sys.exit(error.status)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        place = "" if error.filename is None else f" of {error.filename}"
        show_failure(
            NsmtError(
                f"there is no space left on the device{place}",
                fix="free some and run the same command again: what was finished is kept",
            )
        )
        sys.exit(FAILURE)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def error_console() -> Console:
    """Where problems are told."""
    return Console(stderr=True, highlight=False)


def show_failure(error: NsmtError) -> None:
    """Print the problem and its fix on standard error."""
    console = error_console()
    console.print(f"error: {error.problem}", style="bold red", markup=False, soft_wrap=True)
    console.print(f"  fix: {error.fix}", markup=False, soft_wrap=True)
