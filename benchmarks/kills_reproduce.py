"""Kill `nsmt reproduce` at random moments, run it again until it has finished, compare.

    python benchmarks/kills_reproduce.py kills=30 output=results/kills/reproduce.json

Three tables in turn over the same runs: one that trains (a base run and two methods), translates,
scores and collects; unseen directions; probes. Signals are SIGKILL and SIGTERM, to the command or
to one of its worker processes, while one of the stages still to come is at work, or at random. All
that was finished before a kill must be as it was to the byte and the nanosecond, and no log may
tell of its being begun again; at the end every file must be that of a reproduction that was left
alone, but for times, and no process, held lock or half-written file may be left.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kills import PREEMPTED
from kills_disk import PROBES, Logs, changed, kept, outcome, phase, processes

from nsmt.commands.processes import descendants
from nsmt.files import replace_text
from nsmt.records import certificate, command_line

# Whatever is still done after a signal, be it the rest of a table, is done in less.
_PATIENCE_S = 300
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
_END = "finished"
TABLES = ("table2", "zero_shot", "probes")
WORDS = (
    *("scale=smoke", "methods=[random,neuron_specialization]", "seeds=[1]"),
    *("callbacks.progress=false", "states.every=7"),
)
PROBE_WORDS = (f"probes=[{','.join(PROBES)}]", "gradients.tokens=60", "progress=false")
# Where the command waits for a run, and passes a signal on to it, or measures runs itself.
HEARD = ("dense training", "identification", "continue-dense training", "method training")
HEARD += ("zero-shot", "probe")


def command(place: Path, table: str) -> list[str]:
    """The reproduction of a table as a user starts it."""
    words = [table, *WORDS, f"paths.runs={place}/runs", f"paths.corpora={place}/corpora"]
    if table == "probes":
        words.append(f"table.probe=[{','.join(repr(word) for word in PROBE_WORDS)}]")
    return [sys.executable, "-c", "from nsmt.cli import main; main()", "reproduce", *words]


def wait_for_end(place: Path) -> None:
    """Wait until no process is at work there; SystemExit if one does not end."""
    deadline = time.monotonic() + _PATIENCE_S
    while found := processes(place):
        if time.monotonic() > deadline:
            raise SystemExit(f"did not end with the command: {found}")
        time.sleep(0.05)


def alone(place: Path) -> dict[str, dict[str, float]]:
    """All tables without a kill; by table, the seconds of each phase in their order."""
    seconds: dict[str, dict[str, float]] = {}
    for table in TABLES:
        found, since = seconds.setdefault(table, {}), time.time()
        with _started(place, table) as run:
            while run.poll() is None:
                at = time.monotonic()
                now = phase(place, table, since=since)
                time.sleep(0.02)
                found[now] = found.get(now, 0.0) + time.monotonic() - at
        if run.returncode:
            raise SystemExit(f"{table} ended by itself with status {run.returncode}, see {place}")
        found.pop("finished", None)
    return seconds


def _started(place: Path, table: str) -> subprocess.Popen[bytes]:
    place.mkdir(parents=True, exist_ok=True)
    with (place / "output.txt").open("ab") as file:
        return subprocess.Popen(
            command(place, table), stdout=file, stderr=file, start_new_session=True
        )


@dataclass(slots=True)
class Killer:
    """Kills one table's command at moments of its own, further on from kill to kill."""

    table: str
    seconds: Mapping[str, float]
    rng: random.Random
    reached: int = 0

    def due(self, place: Path, run: subprocess.Popen[bytes], *, since: float) -> str | None:
        """Wait for the moment, and tell where it is; None if the command ended before."""
        names = [name for name in self.seconds if not name.startswith("start of")]
        # Of what is still to come the next two, so that a table is killed many times; or the end.
        wanted = self.rng.choice([*[*names[self.reached :], _END][:2], "any"])
        longest = self.seconds.get(wanted, sum(self.seconds.values()))
        delay = self.rng.uniform(0.0, longest)
        first, at = float("inf"), ""

        def passed(now: str) -> bool:
            return now in names and wanted in names and names.index(now) > names.index(wanted)

        while run.poll() is None:
            now = phase(place, self.table, since=since)
            if not at and (wanted in (now, "any") or passed(now)):
                first, at = time.monotonic(), now
            # What is quicker now than it was alone is killed at its end.
            left = wanted in names and at not in ("", now)
            if left or time.monotonic() - first >= delay:
                if wanted in names:
                    self.reached = names.index(wanted) + self.rng.choice((0, 1))
                return now
            time.sleep(0.005)
        return None


def killed(place: Path, killer: Killer) -> tuple[str, str, str, int] | None:
    """Start a table and kill it: signal, target, phase and status; None if it came to its end."""
    since, rng = time.time(), killer.rng
    with _started(place, killer.table) as run:
        when = killer.due(place, run, since=since)
        if when is None:
            if run.returncode:
                raise SystemExit(f"{killer.table} ended by itself with {run.returncode}: {place}")
            return None
        number, target = rng.choice(SIGNALS), run.pid
        if (workers := descendants(run.pid)) and rng.random() < 0.5:
            target = rng.choice(workers)
        with suppress(ProcessLookupError):
            os.kill(target, number)
        status = run.wait(_PATIENCE_S)
    wait_for_end(place)
    whom = "the command" if target == run.pid else "a worker"
    if status == 0:
        # It came when all was done, or to a worker that was at its end.
        return None
    if status not in allowed(number, when=when, whom=whom):
        raise SystemExit(f"{number.name} of {whom}, {when}: status {status}, see {place}")
    return number.name, whom, when, status


def allowed(number: signal.Signals, *, when: str, whom: str) -> set[int]:
    """The statuses with which a command may end after a signal to it, or to its worker.

    A job that is killed has failed, and the others are run; one that was asked to stop is stopped.
    """
    if whom != "the command":
        return {2, PREEMPTED}
    if number == signal.SIGKILL:
        return {-number}
    # Between runs, and when its page is just written, a signal ends it as any other process.
    return {PREEMPTED} if when in HEARD else {PREEMPTED, -number}


def trial(
    place: Path,
    expected: Mapping[str, Any],
    seconds: Mapping[str, Mapping[str, float]],
    *,
    seed: int,
) -> list[tuple[str, str, str, int]]:
    """All tables, killed until they are done; the kills. SystemExit if they came out otherwise."""
    rng, kills = random.Random(seed), []
    for table in TABLES:
        killer = Killer(table, seconds[table], rng)
        kind: tuple[str, str, str, int] | None = ("", "", "", 0)
        while kind is not None:
            before, logs = kept(place), Logs.of(place)
            kind = killed(place, killer)
            changed(before, kept(place))
            logs.begun_again()
            if kind is not None:
                kills.append(kind)
                sys.stdout.write(f"{table}: {' '.join(map(str, kind))}\n")
                sys.stdout.flush()
    found = outcome(place)
    if found.keys() != expected.keys():
        raise SystemExit(f"other files: {sorted(found.keys() ^ expected.keys())}, see {place}")
    if different := [path for path in expected if found[path] != expected[path]]:
        raise SystemExit(f"{different} are not those of the reproduction alone, see {place}")
    shutil.rmtree(place)
    return kills


def summary(kills: Sequence[tuple[str, str, str, int]], trials: int, files: int) -> dict[str, Any]:
    """What was seen: how many kills, where they fell, and how the command ended."""
    ends = Counter(
        f"{number} of {whom}, {when}, status {status}" for number, whom, when, status in kills
    )
    return {
        "kills": len(kills),
        "reproductions finished": trials * len(TABLES),
        "equal to those left alone": trials * len(TABLES),
        "files compared of each trial": files,
        "by place": dict(sorted(Counter(when for _, _, when, _ in kills).items())),
        "by signal": dict(sorted(Counter(f"{n} of {whom}" for n, whom, _, _ in kills).items())),
        "by end": dict(sorted(ends.items())),
    }


def main() -> None:
    """Run trials until there were enough kills; print and keep what was seen, also so far."""
    options = {"kills": "30", "seed": "0", "output": "", "folder": ""}
    options |= dict(word.split("=", 1) for word in sys.argv[1:])
    record = certificate(command=command_line(), config=options, seed=0, fingerprint=None)
    folder = Path(tempfile.mkdtemp(dir=options["folder"] or None))
    seconds = alone(folder / "alone")
    expected = outcome(folder / "alone")
    told_seconds = {table: {k: round(v, 1) for k, v in of.items()} for table, of in seconds.items()}
    kills, number = list[tuple[str, str, str, int]](), int(options["seed"])
    while len(kills) < int(options["kills"]):
        kills += trial(folder / f"trial-{number}", expected, seconds, seed=number)
        number += 1
        told = summary(kills, number - int(options["seed"]), len(expected))
        told["seconds alone"] = told_seconds
        sys.stdout.write(f"{json.dumps(told, indent=1)}\n")
        sys.stdout.flush()
        if options["output"]:
            text = json.dumps(record | told, indent=1, ensure_ascii=False)
            replace_text(Path(options["output"]), text + "\n")
    # What was left of a fault stays, to be looked at.
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
