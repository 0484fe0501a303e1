"""Kill runs at random moments, start them again until they finish, compare with one left alone.

    python benchmarks/kills.py kills=200 output=results/kills.json

Runs take one rank and two by turns; signals are SIGKILL, SIGTERM and SIGUSR1, to the process that
was started or, for SIGKILL, now and then to any of its ranks; at random, while a state or a
checkpoint is being written, or while neurons are identified. SIGTERM and SIGUSR1 must end a run
with status 75. Every start must go on from the newest state on disk: a run that began again from
nothing would come out the same. Final weights, atlas and metrics (all but what time decides) must
be bitwise those of the run that was left alone: the same sentences then made the same updates, none
of them twice and none left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nsmt.commands.processes import descendants
from nsmt.files import replace_text
from nsmt.records import certificate, command_line

PREEMPTED = 75
# Whatever a run still does after a signal, it does in less.
_PATIENCE_S = 180
# A signal may come when a run is at its end; one that goes on for longer did not hear it.
_AT_ITS_END_S = 2.0
_BEGUN = re.compile(r" (\w+): \d+ updates begin, (\d+) are done")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)
TIMED = ("tokens_per_second", "tflops", "share_of_matrix_rate", "memory_mib", "data_wait")
RUN = (
    "name=killed",
    "data=synthetic",
    "data.sentences=400",
    "data.vocabulary.size=120",
    "data.workers=1",
    "data.cleaning.max_tokens=40",
    "model.d_model=32",
    "model.d_ff=48",
    "model.heads=2",
    "model.max_positions=48",
    "optimizer.learning_rate=0.005",
    "optimizer.warmup_updates=10",
    "batch.tokens=512",
    "batch.per_update=2",
    "decoding=greedy",
    "decoding.max_length_extra=2",
    "test.bootstrap_samples=1",
    "callbacks.progress=false",
    "callbacks.log_every=5",
    "callbacks.keep=best",
    "trainer.threads=1",
    "schedule.specialise.validate_every=40",
    "schedule.dense.validate_every=40",
    "states.every=7",
)


def command(place: Path, *, ranks: int, updates: int) -> list[str]:
    """The run as a user starts it."""
    words = [*RUN, f"paths.runs={place}", f"paths.corpora={place.parent}/corpora"]
    words += [f"schedule.dense.updates={updates}", f"schedule.specialise.updates={updates // 2}"]
    words += [] if ranks == 1 else ["trainer=ddp_sim"]
    return [sys.executable, str(Path(__file__).parent.parent / "train.py"), *words]


def alone(place: Path, *, ranks: int, updates: int) -> float:
    """Run once without a kill; the seconds until its training had begun."""
    started = time.monotonic()
    begun = float("inf")
    words = command(place, ranks=ranks, updates=updates)
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            if begun == float("inf") and list(place.glob("*/dense/metrics.csv")):
                begun = time.monotonic() - started
            time.sleep(0.05)
    if run.returncode:
        raise SystemExit(f"a run ended by itself with status {run.returncode}: {' '.join(words)}")
    return begun


def writing(place: Path) -> bool:
    """Whether a state or a checkpoint is half-written just now."""
    return any(True for _ in place.glob("*/*/states/.*.partial")) or any(
        True for _ in place.glob("*/*/.*.partial")
    )


def identifying(place: Path) -> bool:
    """Whether the dense model is trained and its neurons are not known yet."""
    dense = any(True for _ in place.glob("*/dense/checkpoint"))
    return dense and not any(True for _ in place.glob("*/identification"))


def phase(place: Path, *, since: float) -> str:
    """Where a run that was started at a time is, as its folder tells."""
    # Also of a run that is only told so.
    if any('"finished"' in path.read_text() for path in place.glob("*/record.json")):
        return "finished"
    logs = list(place.glob("*/log.txt"))
    if not any(path.stat().st_mtime >= since for path in logs):
        return "starting"
    if writing(place):
        return "writing"
    if identifying(place):
        return "identification"
    if list(place.glob("*/neuron_specialization/checkpoint")):
        return "scoring"
    return "training" if list(place.glob("*/dense/states")) else "before training"


def moment(rng: random.Random, place: Path, *, begun: float) -> Callable[[], bool]:
    """Whether it is time to kill: some seconds in, while something is written, or identified."""
    since = time.monotonic()
    # From shortly before training begins, whatever stage it is that begins.
    after = since + begun + rng.uniform(-0.5, 4.0)
    kind = rng.choice(("random", "random", "writing", "identification"))
    if kind == "random":
        return lambda: time.monotonic() >= after
    seen = identifying if kind == "identification" else writing
    # Not always the first time, and not always at its beginning.
    after = since + rng.uniform(0.0, begun + 3.0)
    delay = rng.uniform(0.0, 0.3 if kind == "identification" else 0.004)

    def due() -> bool:
        if time.monotonic() < after or not seen(place):
            return False
        time.sleep(delay)
        return True

    return due


def killed(words: Sequence[str], place: Path, *, begun: float, rng: random.Random) -> str | None:
    """Start a run and end it at some moment: how and when; None if it was finished before."""
    log, since = subprocess.DEVNULL, time.time()
    due = moment(rng, place, begun=begun)
    with subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True) as run:
        while run.poll() is None and not due():
            time.sleep(0.001)
        if run.poll() is not None:
            if run.returncode:
                raise SystemExit(f"a run ended by itself with {run.returncode}: {' '.join(words)}")
            return None
        number, target, when = rng.choice(SIGNALS), run.pid, phase(place, since=since)
        if number == signal.SIGKILL and rng.random() < 0.5:
            target = rng.choice([run.pid, *descendants(run.pid)])
        with suppress(ProcessLookupError):
            os.kill(target, number)
        sent = time.monotonic()
        status = run.wait(_PATIENCE_S)
        seconds = time.monotonic() - sent
    if target == run.pid and status not in allowed(number, when=when, seconds=seconds):
        raise SystemExit(
            f"{number.name} while {when}: status {status} {seconds:.1f} s later: {' '.join(words)}"
        )
    whom = "the run" if target == run.pid else "a child"
    return None if status == 0 else f"{number.name} of {whom}, {when}, status {status}"


def allowed(number: signal.Signals, *, when: str, seconds: float) -> set[int]:
    """The statuses with which a run may end so many seconds after a signal to it."""
    statuses = {-number} if number == signal.SIGKILL else {PREEMPTED}
    if when in ("starting", "finished"):
        # It does not listen yet, or any more.
        statuses.add(-number)
    if when in ("scoring", "finished") or seconds < _AT_ITS_END_S:
        statuses.add(0)
    return statuses


def done_on_disk(place: Path) -> dict[str, int]:
    """The updates after which there is a state, the newest of each stage that is not finished."""
    found: dict[str, int] = {}
    for state in sorted(place.glob("*/*/states/step-*")):
        stage = state.parent.parent
        if not (stage / "checkpoint").exists():
            found[stage.name] = int(state.name.removeprefix("step-"))
    return found


def gone_on(log: str, before: Mapping[str, int]) -> list[tuple[str, int]]:
    """The stages that a start went on with and the updates that were done, as its log tells.

    SystemExit if there were states of more updates before.
    """
    first: dict[str, int] = {}
    for stage, done in _BEGUN.findall(log):
        first.setdefault(stage, int(done))
    for stage, done in first.items():
        if done < before.get(stage, 0):
            raise SystemExit(f"{stage} began after {done} updates, {before[stage]} were on disk")
    return [(stage, done) for stage, done in first.items() if done]


def outcome(runs: Path) -> dict[str, Any]:
    """Hashes of what a finished run leaves, and its metrics."""
    (folder,) = (path for path in runs.iterdir() if path.is_dir())
    strays = [str(path) for path in folder.rglob(".*") if path.is_dir()]
    if strays:
        raise SystemExit(f"left behind: {strays}")
    found: dict[str, Any] = {"atlas": _hash(folder / "identification" / "statistics.safetensors")}
    for stage in ("dense", "continue_dense", "neuron_specialization"):
        found[f"{stage} weights"] = _hash(folder / stage / "checkpoint" / "model.safetensors")
        with (folder / stage / "metrics.csv").open() as file:
            found[f"{stage} metrics"] = [
                {key: value for key, value in row.items() if not key.endswith(TIMED)}
                for row in csv.DictReader(file)
            ]
    found["atlas of the masks"] = _hash(
        folder / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    )
    return found


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def trial(
    place: Path, expected: Mapping[str, Any], *, ranks: int, updates: int, begun: float, seed: int
) -> Seen:
    """One run, killed until it is done; how it was. SystemExit if it came out otherwise."""
    rng = random.Random(seed)
    words = command(place, ranks=ranks, updates=updates)
    seen = Seen(runs=1)
    kind: str | None = ""
    while kind is not None:
        before, read = done_on_disk(place), len(log_of(place))
        kind = killed(words, place, begun=begun, rng=rng)
        seen.went_on += gone_on(log_of(place)[read:], before)
        if kind is not None:
            seen.kills[kind] += 1
    found = outcome(place)
    if different := [key for key in expected if found[key] != expected[key]]:
        raise SystemExit(f"after {dict(seen.kills)}, {different} are not those of the run alone")
    shutil.rmtree(place)
    return seen


def log_of(place: Path) -> str:
    """The log of the run there, empty before there is one."""
    return "".join(path.read_text() for path in place.glob("*/log.txt"))


@dataclass(slots=True)
class Seen:
    """Runs that were killed until they were done: how they were, and what they went on with."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    went_on: list[tuple[str, int]] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        """Count those too."""
        self.runs += other.runs
        self.kills += other.kills
        self.went_on += other.went_on

    def told(self) -> dict[str, Any]:
        """The same for a record."""
        updates: dict[str, list[int]] = {}
        for stage, done in sorted(self.went_on):
            updates.setdefault(stage, []).append(done)
        return {
            "runs": self.runs,
            "kills": dict(sorted(self.kills.items())),
            "went on after updates": updates,
        }


def main() -> None:
    """Run trials until there were enough kills; print and keep what was seen, also so far."""
    options = {"kills": "200", "updates": "120", "seed": "0", "ranks": "1,2", "output": ""}
    options |= dict(word.split("=", 1) for word in sys.argv[1:])
    updates = int(options["updates"])
    seen: dict[int, Seen] = {}
    record = certificate(command=command_line(), config=options, seed=0, fingerprint=None)
    with tempfile.TemporaryDirectory() as folder:
        expected, begun = {}, {}
        for ranks in map(int, options["ranks"].split(",")):
            place = Path(folder) / f"alone-{ranks}"
            begun[ranks] = alone(place, ranks=ranks, updates=updates)
            expected[ranks], seen[ranks] = outcome(place), Seen()
        number = int(options["seed"])
        told = summary(seen)
        while told["kills"] < int(options["kills"]):
            # The rank count with fewer kills is next.
            ranks = min(seen, key=lambda each: seen[each].kills.total())
            seen[ranks].add(
                trial(
                    Path(folder) / f"trial-{number}",
                    expected[ranks],
                    ranks=ranks,
                    updates=updates,
                    begun=begun[ranks],
                    seed=number,
                )
            )
            number += 1
            told = summary(seen)
            sys.stdout.write(f"{told['kills']} kills, {told['runs finished']} runs, all equal\n")
            sys.stdout.flush()
            if options["output"]:
                text = json.dumps(record | told, indent=1, ensure_ascii=False)
                replace_text(Path(options["output"]), text + "\n")
    sys.stdout.write(f"{json.dumps(told, indent=1)}\n")


def summary(seen: Mapping[int, Seen]) -> dict[str, Any]:
    """What was seen: how many, and how and when, by the number of ranks."""
    runs = sum(each.runs for each in seen.values())
    return {
        "kills": sum(each.kills.total() for each in seen.values()),
        "runs finished": runs,
        "equal to the run left alone": runs,
        "starts that went on within a stage": sum(len(each.went_on) for each in seen.values()),
        "by ranks": {str(ranks): each.told() for ranks, each in seen.items()},
    }


if __name__ == "__main__":
    main()
