"""The errors that a user can cause, each with its fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar


def did_you_mean(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """To begin a fix with: the known word that is most like a wrong one; empty if none is.

    `cutoff` is the least likeness, as of `difflib.get_close_matches`.
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"did you mean '{near[0]}'? " if near else ""


class NsmtError(Exception):
    """A mistake that the user can mend: one line that says what is wrong, one that says the fix.

    Entry points print it without a traceback and exit with its status.
    """

    status: ClassVar[int] = 2

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors of workers travel between processes.
        return partial(type(self), fix=self.fix), (self.problem,)

    def __str__(self) -> str:
        return f"{self.problem}\n  fix: {self.fix}"


class PreemptionError(NsmtError):
    """A signal asked the run to stop; its state is kept. Every rank raises this."""

    # EX_TEMPFAIL: try again.
    status = 75


class ConfigurationError(NsmtError):
    """A configuration that does not fit its schema; `problem` lists every fault found."""


class DataError(NsmtError):
    """Text, corpora or downloads that cannot be used as they are."""


class CheckpointError(NsmtError):
    """A checkpoint that is missing, torn, corrupt or made for something else."""


class AtlasError(NsmtError):
    """A neuron atlas that is damaged or belongs to another model."""


class AdapterError(NsmtError):
    """Adapters that do not fit a model, or are not there for a direction."""


class TrainingError(NsmtError):
    """Training that went wrong in a way that settings can mend."""
