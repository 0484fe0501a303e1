"""What is on disk of reproductions that are killed: where they are, what is finished, what is left.

For `kills_reproduce.py`: three tables over the same runs below one folder.
"""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kills import TIMED

from nsmt.files import sha256

PROBES = ("gradients", "family")
STARTING = "start of the command"
# What names the time, or how often a run was interrupted, beside the numbers.
_OF_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
_INTERRUPTED = re.compile(r"resumed after</dt>\s*<dd>[^<]*")
_NOT_COMPARED = ("log.txt", "timings.json", "config.yaml", "sweep.json", "multirun.yaml")
_AGAIN = re.compile(
    r"(\w+): \d+ updates begin|(identified) the neurons|(translated the test sets with \w+)"
)


def read(path: Path) -> dict[str, Any]:
    """A JSON file, empty if there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def phase(place: Path, table: str, *, since: float) -> str:
    """What a command that was started at a time is at, as the files tell."""
    runs = place / "runs"
    for path in runs.glob("sweeps/*/jobs/[0-9]*.json"):
        if path.stat().st_mtime >= since and (job := read(path)).get("state") == "running":
            return _phase_of_run(place, job, since=since)
    if any(_touched(folder, since) for folder in runs.glob(f"reproductions/{table}-*/tables")):
        page = runs.glob(f"reproductions/{table}-*/report.html")
        return "finished" if any(_touched(path, since) for path in page) else "page"
    if any(_touched(path, since) for path in runs.glob("smoke-*/evaluations/**/")):
        return "zero-shot"
    if any(_touched(path, since) for path in runs.glob(".*.probe.lock")):
        return "probe"
    return STARTING


def _touched(path: Path, since: float) -> bool:
    try:
        return path.stat().st_mtime >= since
    except FileNotFoundError:
        return False


def _phase_of_run(place: Path, job: Mapping[str, Any], *, since: float) -> str:
    run = Path(job["run"])
    (method,) = (word.partition("=")[2] for word in job["overrides"] if word.startswith("method="))
    if not _touched(run / "log.txt", since):
        there = any(True for _ in place.glob("corpora/synthetic-*"))
        return "start of a run" if there else "preparation of the corpus"
    if "finished" in read(run / "record.json"):
        return "report of a run"
    if not (run / "dense" / "checkpoint").is_dir():
        return "dense training"
    if not (run / "identification").is_dir():
        return "identification"
    for stage in ("continue_dense", method):
        if not (run / stage / "checkpoint").is_dir():
            named = "continue-dense" if stage == "continue_dense" else "method"
            return f"{named} training"
    return "translation and scoring"


def kept(place: Path) -> dict[str, tuple[int, str]]:
    """All that is finished: when it was written, and its hash."""
    found = {}
    for path in _finished_files(place):
        # The notes of translations that runs share are put beside them anew.
        copied = path.parent.name == "translations"
        found[str(path)] = 0 if copied else path.stat().st_mtime_ns, sha256(path)
    return found


def _finished_files(place: Path) -> Iterator[Path]:
    for corpus in place.glob("corpora/synthetic-*"):
        yield from _files(corpus)
    for run in place.glob("runs/smoke-*"):
        if whole(run):
            yield from (
                path
                for path in _files(run)
                if path.relative_to(run).parts[0] not in ("evaluations", "probes")
            )
        else:
            for stage in (path.parent for path in run.glob("*/checkpoint")):
                yield from _files(stage / "checkpoint")
                yield stage / "metrics.csv"
            yield from _files(run / "identification")
            yield from _translations(run)
        for evaluation in run.glob("evaluations/[a-z]*"):
            done = "finished" in read(evaluation / "record.json")
            yield from _files(evaluation) if done else _translations(evaluation)
        probes = list(run.glob("probes/[a-z]*.json"))
        yield from _files(run / "probes") if len(probes) == len(PROBES) else probes


def whole(run: Path) -> bool:
    """Whether a run came to its end."""
    page = (run / "report" / "report.html").is_file()
    return page and "finished" in read(run / "record.json")


def _translations(folder: Path) -> Iterator[Path]:
    """The notes of what was translated, and the files that they tell of."""
    for note in folder.glob("translations/[a-z]*.json"):
        yield note
        yield from (note.parent / name for name in read(note)["files"])


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def changed(before: Mapping[str, tuple[int, str]], after: Mapping[str, tuple[int, str]]) -> None:
    """SystemExit if something that was finished is another now, or was written again."""
    again = [path for path, state in before.items() if after.get(path) != state]
    if again:
        raise SystemExit(f"finished, and made again: {again}")


@dataclass(slots=True)
class Logs:
    """The logs of runs, and what is not to be begun again in each, as it is before a start."""

    read: dict[Path, int] = field(default_factory=dict)
    done: dict[Path, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, place: Path) -> Logs:
        """As it is now."""
        logs = cls()
        for run in place.glob("runs/smoke-*"):
            stages = {path.parent.name for path in run.glob("*/checkpoint")}
            notes = {path.stem for path in run.glob("translations/[a-z]*.json")}
            done = stages | {f"translated the test sets with {name}" for name in notes}
            done |= {"identified"} if (run / "identification").is_dir() else set()
            logs.done[run] = done | ({"all"} if whole(run) else set())
            logs.read[run] = len(log_of(run))
        return logs

    def begun_again(self) -> None:
        """SystemExit if the logs tell since then that something finished was begun again."""
        for run, done in self.done.items():
            said = log_of(run)[self.read[run] :]
            if "all" in done and said:
                raise SystemExit(f"{run} was finished, and began again: {said}")
            again = {next(filter(None, found)) for found in _AGAIN.findall(said)} & done
            if again:
                raise SystemExit(f"{run} began again with {sorted(again)}, which were finished")


def log_of(run: Path) -> str:
    """The log of a run, empty before there is one."""
    path = run / "log.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def outcome(place: Path) -> dict[str, Any]:
    """Every file of finished reproductions by its path, without times and places.

    SystemExit if something was left behind.
    """
    stray = [
        str(path)
        for path in place.rglob("*")
        if path.name.endswith((".partial", ".old", ".told"))
        or path.name in ("states", "failure.json")
        or (path.name.endswith(".lock") and _held(path))
    ]
    if stray or (stray := processes(place)):
        raise SystemExit(f"left behind: {stray}")
    return {
        str(path.relative_to(place)): _content(path, place)
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name != "output.txt"
    }


def _content(path: Path, place: Path) -> Any:  # noqa: ANN401 -- whatever can be compared
    if path.name in _NOT_COMPARED:
        return None
    if path.name == "metrics.csv":
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            {key: value for key, value in row.items() if not key.endswith(TIMED)} for row in rows
        ]
    if path.suffix == ".safetensors":
        return _tensors(path)
    if path.suffix not in (".json", ".html"):
        return sha256(path)
    text = path.read_text(encoding="utf-8").replace(str(place), "PLACE")
    text = _INTERRUPTED.sub("", _OF_TIME.sub("TIME", text))
    if path.suffix == ".html":
        return text
    # A run that went on keeps what began it.
    return {key: value for key, value in json.loads(text).items() if key != "resumed"}


def _tensors(path: Path) -> tuple[Any, str]:
    """The header and the hash of the rest: the library orders metadata anew in every process."""
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), hashlib.sha256(data[end:]).hexdigest()


def _held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def processes(place: Path) -> list[str]:
    """The processes that are at work there, by their words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace")
            if f"{place}/" in words and int(path.parent.name) != os.getpid():
                found.append(words.replace("\0", " ")[:200])
    return found
