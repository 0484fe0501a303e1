"""How much faster two ranks train than one, on as many cores.

    python benchmarks/scaling.py [--updates N] [--output FILE] [OVERRIDE ...]

Runs `train.py schedule=dense` with one rank and with two over gloo, each rank with one thread and
batches of the same size, in turns; overrides go to both. The figure is the ratio of target tokens a
second, medians over the lines of metrics.csv, whose first is left out.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from nsmt.commands.processes import descendants
from nsmt.files import replace_text
from nsmt.records import certificate, command_line

ROOT = Path(__file__).resolve().parent.parent
TURNS = 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--output", type=Path)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    speeds: dict[int, list[float]] = {1: [], 2: []}
    texts = set()
    for turn in range(TURNS):
        for ranks, found in speeds.items():
            speed, text = _speed(ranks, turn, updates=asked.updates, overrides=asked.overrides)
            found.append(speed)
            texts.add(text)
    (fingerprint,) = texts
    one, two = (statistics.median(speeds[ranks]) for ranks in (1, 2))
    figures = {
        "one_rank_target_tokens_per_second": one,
        "two_ranks_target_tokens_per_second": two,
        "two_over_twice_one": two / (2 * one),
    }
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):40} {value:,.4g}")
    if asked.output is not None:
        config = {"overrides": asked.overrides, "updates": asked.updates}
        record = certificate(command=command_line(), config=config, seed=1, fingerprint=fingerprint)
        record["figures"] = {name: float(f"{value:.5g}") for name, value in figures.items()}
        replace_text(asked.output, json.dumps(record, indent=1) + "\n")


def _speed(ranks: int, turn: int, *, updates: int, overrides: list[str]) -> tuple[float, str]:
    """Target tokens a second, and the fingerprint of the text."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [
            *(sys.executable, str(ROOT / "train.py"), "schedule=dense", f"seed={turn}"),
            *(f"name=scaling-{ranks}", f"paths.runs={folder}", "callbacks.log_every=1"),
            f"schedule.dense.updates={updates}",
            f"schedule.dense.validate_every={updates}",
            *(f"trainer.devices={ranks}", "trainer.threads=1", f"batch.per_update={ranks}"),
            *overrides,
        ]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as run:
            measured: list[float] = []
            while run.poll() is None and len(measured) < updates:
                time.sleep(0.5)
                measured = _measured(Path(folder))
            # Nobody asks for its validation and translations. Ranks would outlive it for a while,
            # and take time from the next.
            for process in (*descendants(run.pid), run.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        (record,) = Path(folder).glob("*/record.json")
        fingerprint = json.loads(record.read_text(encoding="utf-8"))["data_fingerprint"]
    return statistics.median(measured[1:]), fingerprint


def _measured(runs: Path) -> list[float]:
    """Target tokens a second, by update, as far as they are logged."""
    for path in runs.glob("*/dense/metrics.csv"):
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [float(each) for row in rows if (each := row["train/target_tokens_per_second"])]
    return []


if __name__ == "__main__":
    main()
