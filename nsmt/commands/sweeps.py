"""What a sweep leaves on disk: what was asked for, and how each of its jobs ended.

The folder is named by what the sweep is to do, so the same command comes back to it. Runs are not
in it: each has a folder of its own, named by its configuration, which is how a sweep that is begun
again finds what is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from nsmt.errors import DataError
from nsmt.files import replace_text
from nsmt.records import command_line, commit, now

SWEEPS: Final = "sweeps"
RECORD: Final = "sweep.json"
JOBS: Final = "jobs"
SCHEMA_VERSION: Final = 1

# running: begun, and not known to have ended. stopped: by a signal, with its state kept.
State = Literal["running", "finished", "failed", "stopped"]

# Words that say how a sweep is computed and shown; of the rest it is named.
_APART: Final = (
    *("hydra.launcher", "hydra/launcher", "hydra.sweep.", "hydra.job", "hydra.mode", "launcher"),
    *("hydra.sweeper.n_trials", "hydra.sweeper.n_jobs", "hydra.sweeper.patience"),
    *("paths", "logger", "callbacks.progress", "callbacks.log_every", "report", "states"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a sweep, as its file tells it.

    `run` is the run folder, where there is one; `error` the class of the error that ended it.
    """

    number: int
    overrides: tuple[str, ...]
    state: State
    run: str | None = None
    reason: str | None = None
    fix: str | None = None
    log: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class LostJob:
    """A job that its launcher did not hear from."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """The folder of a sweep."""

    folder: Path

    @property
    def name(self) -> str:
        """The name by which trackers group the runs."""
        return self.folder.name

    def job_path(self, number: int, suffix: str = ".json") -> Path:
        """A file of one job."""
        return self.folder / JOBS / f"{number:04d}{suffix}"

    def write_job(self, job: Job) -> None:
        """Put down how a job stands."""
        text = json.dumps({"schema": SCHEMA_VERSION, **asdict(job)}, indent=1, ensure_ascii=False)
        replace_text(self.job_path(job.number), text + "\n")

    def jobs(self) -> list[Job]:
        """All jobs that were begun, by number; DataError where a file is damaged."""
        return [_read_job(path) for path in sorted((self.folder / JOBS).glob("[0-9]*.json"))]

    def begin(self, command: str, words: Sequence[str]) -> None:
        """Put down what was asked for; attempts before this one stay on the list."""
        path = self.folder / RECORD
        before = _read(path).get("begun", []) if path.is_file() else []
        record = {
            "schema": SCHEMA_VERSION,
            "command": command,
            "overrides": list(words),
            "begun": [*before, {"at": now(), "command": command_line(), "commit": commit()}],
        }
        replace_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def sweep_name(command: str, name: str, words: Sequence[str]) -> str:
    """The name of the configuration, and a hash of what is swept and set."""
    plain = (word.lstrip("+") for word in words)
    decisive = sorted(word for word in plain if not word.startswith(_APART))
    text = json.dumps([command, decisive])
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _read_job(path: Path) -> Job:
    found = _read(path)
    try:
        return Job(
            number=int(found["number"]),
            overrides=tuple(found["overrides"]),
            state=found["state"],
            run=found["run"],
            reason=found["reason"],
            fix=found["fix"],
            log=found["log"],
            error=found.get("error"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA_VERSION:
            raise ValueError(f"schema {found['schema']}, expected {SCHEMA_VERSION}")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    return dict(found)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged: {error}",
        fix="delete it; the sweep's command, run again, writes it anew and repeats no finished run",
    )
