"""Runs in processes of their own that are killed, run out of room or diverge, and go on."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_run import SMALL, train_stages

from nsmt.commands.compose import composed
from nsmt.commands.config import RunConfig
from nsmt.training.states import load_state, state_folder, updates_on_disk

KILLED = (
    "schedule=dense",
    "schedule.dense.updates=60",
    "schedule.dense.validate_every=8",
    "states.every=3",
    "callbacks.log_every=1",
    "model.dropout=0.0",
    "test.bootstrap_samples=1",
)
PREEMPTED = 75


def done_at_starts(place):
    """How many updates were done where a stage began, start by start.

    A run that forgot its states and began again would come out the same.
    """
    (log,) = place.glob("runs/*/log.txt")
    return [int(done) for done in re.findall(r"updates begin, (\d+) are done", log.read_text())]


def all_words(config_words, place, *, ranks):
    words = [*SMALL, *config_words, f"paths.runs={place}/runs", f"paths.corpora={place}/corpora"]
    return words + (["trainer=ddp_sim", f"trainer.devices={ranks}"] if ranks > 1 else [])


def started(config_words, place, *, ranks):
    script = Path(__file__).parents[2] / "train.py"
    return subprocess.Popen(
        [sys.executable, str(script), *all_words(config_words, place, ranks=ranks)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory):
    """The weights' hash of a run that nothing interrupted, by its number of ranks."""
    seen = {}

    def hash_of(ranks):
        if ranks not in seen:
            place = tmp_path_factory.mktemp("whole")
            seen[ranks] = trained_here(KILLED, place, ranks=ranks)
        return seen[ranks]

    return hash_of


def trained_here(config_words, place, *, ranks):
    """Train without a process of its own, to the end; the hash of the weights."""
    assert train_stages(composed("train", all_words(config_words, place, ranks=ranks), RunConfig))
    return hash_of_weights(place)


def finished(run, place):
    """Wait for a run; the hash of its weights."""
    said = run.communicate()[0]
    assert run.returncode == 0, said
    return hash_of_weights(place)


def hash_of_weights(place):
    (manifest,) = place.glob("runs/*/dense/checkpoint/manifest.json")
    return json.loads(manifest.read_text())["model.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "number"),
    [(1, signal.SIGKILL), (1, signal.SIGTERM), (2, signal.SIGKILL), (2, signal.SIGUSR1)],
)
@pytest.mark.usefixtures("forked_ranks")
def test_a_run_that_gets_a_signal_ends_as_one_that_does_not(tmp_path, left_alone, ranks, number):
    run = started(KILLED, tmp_path, ranks=ranks)
    until_states(run, tmp_path)
    os.kill(run.pid, number)
    said = run.communicate()[0]
    assert run.returncode == (-signal.SIGKILL if number == signal.SIGKILL else PREEMPTED), said
    if number != signal.SIGKILL:
        assert "run the same command again" in said
    found = finished(started(KILLED, tmp_path, ranks=ranks), tmp_path)
    first, again = done_at_starts(tmp_path)
    assert first == 0
    assert again > 0
    assert found == left_alone(ranks)


def until_states(run, place):
    """Wait until a run has written a state."""
    deadline = time.monotonic() + 120
    while not list(place.glob("runs/*/dense/states/step-*")):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["best", "ema"])
@pytest.mark.usefixtures("forked_ranks")
def test_sharded_weights_go_on_and_are_kept_as_they_were(tmp_path, keep):
    """States at validations, after which the root of the model is not as the optimiser has it."""
    words = (*KILLED, "trainer.strategy=fsdp", f"callbacks.keep={keep}")
    words += ("states.every=4", "schedule.dense.validate_every=4", "callbacks.ema_decay=0.9")
    alone = trained_here(words, tmp_path / "alone", ranks=2)
    run = started(words, tmp_path / "killed", ranks=2)
    until_states(run, tmp_path / "killed")
    run.terminate()
    assert run.wait() == PREEMPTED
    assert trained_here(words, tmp_path / "killed", ranks=2) == alone
    assert done_at_starts(tmp_path / "killed")[-1] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("forked_ranks")
def test_a_run_goes_on_with_fewer_ranks(tmp_path):
    words = (*KILLED, "batch.per_update=4")
    places = {name: tmp_path / name for name in ("alone", "fewer")}
    trained_here(words, places["alone"], ranks=1)
    run = started(words, places["fewer"], ranks=4)
    until_states(run, places["fewer"])
    run.terminate()
    assert run.wait() == PREEMPTED
    trained_here(words, places["fewer"], ranks=2)
    assert done_at_starts(places["fewer"])[-1] > 0
    alone, fewer = (validated(place) for place in places.values())
    assert fewer == pytest.approx(alone, rel=1e-3)


def validated(place):
    """The likelihoods of the validations of a run."""
    with next(place.glob("runs/*/dense/metrics.csv")).open() as file:
        return [float(row["valid/nll"]) for row in csv.DictReader(file) if row["valid/nll"]]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_ranks_that_diverge_go_back_together_and_end_with_one_error(tmp_path, strategy):
    words = (*KILLED, f"trainer.strategy={strategy}")
    words += ("optimizer.learning_rate=1e18", "optimizer.warmup_updates=1")
    words += ("schedule.dense.validate_every=60",)
    run = started(words, tmp_path, ranks=2)
    said = run.communicate(timeout=120)[0]
    assert run.returncode == 2, said
    assert "error: 5 updates in a row had no gradients that could be used" in said
    log = next(tmp_path.glob("runs/*/log.txt")).read_text()
    assert "going back to the newest state" in log or "there is no state to go back to" in said


@pytest.mark.slow
def test_a_full_disk_ends_a_run_with_a_message_and_it_goes_on_when_there_is_room(tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    options = ["-t", "tmpfs", "-o", "size=8m", "nsmt-test", str(runs)]
    mounted = subprocess.run(["mount", *options], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    words = (*KILLED, "schedule.dense.updates=400", "schedule.dense.validate_every=400")
    try:
        run = started(words, tmp_path, ranks=1)
        until_states(run, tmp_path)
        ballast = runs / "ballast"
        with ThreadPoolExecutor(1) as pool:
            pool.submit(fill, ballast, run)
            said = run.communicate()[0]
        assert run.returncode == 2, said
        assert "error: there is no space left on the device" in said
        assert "Traceback" not in said
        assert not list(runs.glob("*/dense/checkpoint"))
        # The last good one.
        (states,) = runs.glob("*/dense/states")
        kept = load_state(state_folder(states, updates_on_disk(states)[-1])).update
        ballast.unlink()
        finished(started(words, tmp_path, ranks=1), tmp_path)
        assert done_at_starts(tmp_path) == [0, kept]
    finally:
        subprocess.run(["umount", str(runs)], check=True)


def fill(path, run):
    """Take all the room that there is, also what a run gives back, until it ends."""
    with path.open("wb", buffering=0) as file:
        while run.poll() is None:
            try:
                file.write(bytes(4096))
            except OSError:
                time.sleep(0.001)
