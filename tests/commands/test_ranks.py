"""Ranks that somebody else starts: torchrun by hand, tasks of a cluster."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_run import SMALL

ROOT = Path(__file__).parents[2]
RUN = (
    *("schedule=dense", "schedule.dense.updates=60", "schedule.dense.validate_every=20"),
    *("states.every=3", "test.bootstrap_samples=1", "trainer=ddp_sim"),
)


def started(place, *words, by=(sys.executable,)):
    paths = [f"paths.runs={place}/runs", f"paths.corpora={place}/corpora"]
    return subprocess.Popen(
        [*by, *words, *SMALL, *RUN, *paths],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(run, place):
    """Wait for a run; the hash of its weights."""
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    (manifest,) = place.glob("runs/small-*/dense/checkpoint/manifest.json")
    return json.loads(manifest.read_text())["model.safetensors"]


@pytest.fixture(scope="module")
def by_nsmt(tmp_path_factory):
    """The weights of a run whose ranks nsmt started."""
    place = tmp_path_factory.mktemp("whole")
    return finished(started(place, "train.py"), place)


@pytest.mark.slow
def test_ranks_of_torchrun_make_the_run_that_ours_make(tmp_path, by_nsmt):
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    run = started(tmp_path, "train.py", by=(*torchrun, "--nproc-per-node=2"))
    assert finished(run, tmp_path) == by_nsmt


def task(number, place):
    """The process of a task of submitit, if it is there."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            given = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        ours = b"submitit.core._submit" in words and str(place).encode() in b" ".join(words)
        if ours and f"SUBMITIT_LOCAL_GLOBALID={number}".encode() in given:
            return int(folder.name)
    return None


@pytest.mark.slow
def test_tasks_of_submitit_are_ranks_that_a_cluster_may_take_back(tmp_path, by_nsmt):
    pytest.importorskip("submitit")
    words = ("hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2")
    run = started(tmp_path, "train.py", "-m", *words)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/small-*/dense/states/step-*")):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(task(0, tmp_path), signal.SIGUSR2)
    assert finished(run, tmp_path) == by_nsmt
    (log,) = tmp_path.glob("runs/small-*/log.txt")
    first, again = re.findall(r"updates begin, (\d+) are done", log.read_text())
    assert int(first) == 0
    assert int(again) > 0
