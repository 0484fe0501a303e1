"""The errors that a user can cause, each with its fix."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar


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
