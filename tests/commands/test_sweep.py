"""A sweep loses nothing: failures are told, what is missing is done, what is done is left alone."""

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

from nsmt.commands.supervision import end_running, run_child
from nsmt.commands.sweeps import Job, Sweep, sweep_name

ROOT = Path(__file__).parents[2]
GRID = ("selection.k=80,95", "seed=1,2")


@pytest.fixture
def start(tmp_path, corpora):
    """Start `train.py -m` on the small run; its process."""

    def run(*words: str) -> subprocess.Popen[str]:
        paths = [f"paths.runs={tmp_path}/runs", f"paths.corpora={corpora}"]
        environment = {key: v for key, v in os.environ.items() if not key.startswith("WANDB")}
        return subprocess.Popen(
            [sys.executable, "train.py", "-m", *SMALL, *paths, *words],
            cwd=ROOT,
            env=environment | {"WANDB_SILENT": "true"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def processes(*parts: str) -> list[int]:
    """Every process whose command line has all the parts."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(part in words for part in parts):
            found.append(int(path.parent.name))
    return found


def until(condition, *, seconds=240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came of it in time")


def only_sweep(runs: Path) -> Sweep:
    (folder,) = (runs / "sweeps").iterdir()
    return Sweep(folder)


def trained(runs: Path) -> dict[str, Path]:
    """Runs that write metrics already, by name."""
    return {path.parents[1].name: path.parents[1] for path in runs.glob("*/dense/metrics.csv")}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_two_of_four_jobs_with_two_ranks_are_killed_and_the_same_command_does_the_rest(
    start, tmp_path, launcher
):
    words = [*GRID, "trainer=ddp_sim", "logger=wandb", f"hydra/launcher={launcher}"]
    words += ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    runs = tmp_path / "runs"
    first = start(*words)
    killed: set[str] = set()
    deadline = time.monotonic() + 240
    while len(killed) < 2:
        assert time.monotonic() < deadline
        name = until(lambda: next(iter(trained(runs).keys() - killed), None))
        number = {Path(job.run).name: job.number for job in only_sweep(runs).jobs()}[name]
        parts = (
            ("torch.distributed.run", str(runs / name))
            if killed
            else ("sweep_process", f"{runs}/sweeps", f"{number:04d}.told")
        )
        for process in processes(*parts):
            os.kill(process, signal.SIGKILL)
            killed.add(name)
    _, errors = first.communicate(timeout=400)
    assert first.returncode == 2, errors
    assert "Traceback" not in errors
    sweep = only_sweep(runs)
    ended = {Path(job.run).name: job for job in sweep.jobs()}
    assert {name for name, job in ended.items() if job.state == "failed"} == killed
    for name in killed:
        failure = json.loads((runs / name / "failure.json").read_text())
        assert "killed by SIGKILL" in failure["reason"] or "ranks ended" in failure["reason"]
        assert failure["overrides"] == list(ended[name].overrides)
    kept = {
        name: (runs / name / "record.json").stat().st_mtime_ns for name in ended.keys() - killed
    }

    again = start(*words)
    shown, errors = again.communicate(timeout=400)
    assert again.returncode == 0, errors
    assert "4 of 4 jobs finished" in shown
    assert only_sweep(runs).folder == sweep.folder
    # 4 results, 4 tracker runs in the sweep's group, and nothing else.
    folders = {path.name for path in runs.iterdir() if path.is_dir()}
    assert folders == set(ended) | {"sweeps"}
    assert len(ended) == 4
    for name in ended:
        assert "finished" in json.loads((runs / name / "record.json").read_text())
        assert not (runs / name / "failure.json").exists()
    for name, before in kept.items():
        assert (runs / name / "record.json").stat().st_mtime_ns == before
    trackers = list(runs.glob("*/wandb/offline-run-*/run-*.wandb"))
    assert {path.stem.removeprefix("run-") for path in trackers} == set(ended)
    # What a killed process had not written yet is in none of its files.
    grouped = {path.stem for path in trackers if sweep.name.encode() in path.read_bytes()}
    assert grouped == {path.stem for path in trackers}
    assert not [p for p in runs.rglob("*") if p.name.endswith((".partial", ".old", ".told"))]
    assert [job.state for job in sweep.jobs()] == ["finished"] * 4
    assert not processes(str(runs))


@pytest.mark.slow
def test_a_sweep_that_is_asked_to_stop_starts_no_further_job_and_goes_on_later(start, tmp_path):
    runs = tmp_path / "runs"
    words = ("seed=1,2", "schedule=dense", "schedule.dense.updates=400")
    first = start(*words)
    until(lambda: trained(runs))
    first.send_signal(signal.SIGTERM)
    _, errors = first.communicate(timeout=120)
    assert first.returncode == 75, errors
    (job,) = only_sweep(runs).jobs()
    assert job.state == "stopped"
    assert list(Path(job.run).glob("dense/states/*")), "its state is kept"
    again = start("seed=1,2", "schedule=dense", "schedule.dense.updates=400")
    shown, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "2 of 2 jobs finished" in shown


@pytest.mark.slow
def test_a_sweep_killed_outright_takes_its_jobs_with_it(start, tmp_path):
    runs = tmp_path / "runs"
    words = ("seed=1,2", "schedule=dense", "schedule.dense.updates=4000")
    sweep = start(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    until(lambda: len(trained(runs)) == 2)
    sweep.kill()
    sweep.wait()
    until(lambda: not processes(str(runs), "nsmt"), seconds=60)
    assert all(list(folder.glob("dense/states/*")) for folder in trained(runs).values())


@pytest.mark.slow
def test_a_search_goes_on_with_its_study(start, tmp_path):
    runs = tmp_path / "runs"
    words = ["schedule=dense", "schedule.dense.updates=2", "schedule.dense.validate_every=2"]
    words += ["hydra/sweeper=search", "optimizer.learning_rate=interval(0.001,0.01)"]
    for trials, known in ((2, 0), (3, 2)):
        search = start(*words, f"hydra.sweeper.n_trials={trials}")
        shown, errors = search.communicate(timeout=200)
        assert search.returncode == 0, errors
        assert shown.count(" begins: ") == trials - known
        assert f"best of {trials}: " in shown
    sweep = only_sweep(runs)
    assert [job.number for job in sweep.jobs()] == [0, 1, 2]
    rates = {word for job in sweep.jobs() for word in job.overrides if "learning_rate" in word}
    # The fixed value of the small run, and one a trial.
    assert len(rates) == 3
    best = json.loads((sweep.folder / "search.json").read_text())["best"]
    assert best["run"] in {job.run for job in sweep.jobs()}
    assert list(best["values"]) == ["optimizer.learning_rate"]


def test_the_folder_of_a_sweep_is_named_by_what_it_does():
    name = sweep_name("train", "small", ["seed=1,2", "++selection.k=80"])
    assert re.fullmatch(r"small-[0-9a-f]{10}", name)
    assert name == sweep_name("train", "small", ["selection.k=80", "seed=1,2"][::-1])
    for shown in (
        "hydra/launcher=joblib",
        "paths.runs=x",
        "logger=wandb",
        "hydra.sweeper.n_jobs=2",
    ):
        assert sweep_name("train", "small", ["seed=1,2", "selection.k=80", shown]) == name
    for done in ("seed=3", "hydra.sweeper.seed=2", "data=bible8"):
        assert sweep_name("train", "small", ["seed=1,2", "selection.k=80", done]) != name


def test_jobs_are_read_as_they_were_written(tmp_path):
    sweep = Sweep(tmp_path / "one")
    jobs = [Job(0, ("seed=1",), "finished", run="runs/a"), Job(1, (), "failed", reason="ünder")]
    for job in reversed(jobs):
        sweep.write_job(job)
    assert sweep.jobs() == jobs


@pytest.mark.parametrize(("code", "status"), [("", 0), ("raise SystemExit(3)", 3)])
def test_a_child_tells_its_status_and_its_output_goes_on_in_the_log(tmp_path, code, status):
    log = tmp_path / "jobs" / "log"
    for text in ("one", "two"):
        ended = run_child(
            [sys.executable, "-c", f"import os; print(os.environ['A'], input()); {code}"],
            environment={"A": "given"},
            given=text,
            log=log,
        )
        assert (ended.status, ended.asked, ended.killed_by) == (status, None, None)
    assert log.read_text() == "given one\ngiven two\n"


def test_a_child_that_is_killed_is_told_by_the_signal():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    ended = run_child([sys.executable, "-c", code], environment={}, given="x" * 10_000_000)
    assert ended.killed_by == "SIGKILL"


def test_a_child_hears_once_that_it_is_to_stop_and_signals_of_clusters_not_at_all(tmp_path):
    code = """
import os, signal, sys, time
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGUSR2)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(0.5)
sys.exit(len(heard))
"""
    ended = run_child([sys.executable, "-c", code], environment={}, given="")
    assert ended.status == 1
    assert ended.asked == signal.SIGTERM


SAVING = """
import os, signal, sys, time
heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
os.kill(os.getppid(), signal.SIGUSR2)
while not heard:
    time.sleep(0.01)
time.sleep(1)
open(sys.argv[1], "w").write(str(len(heard)))
sys.exit(75)
"""


def test_a_job_that_is_taken_back_has_saved_before_it_is_queued_again(tmp_path):
    saved, queued = tmp_path / "saved", []

    def take_back(number, frame):
        # As submitit does.
        end_running(patience_s=30)
        queued.append(saved.read_text())
        sys.exit(1)

    before = signal.signal(signal.SIGUSR2, take_back)
    try:
        with pytest.raises(SystemExit):
            run_child([sys.executable, "-c", SAVING, str(saved)], environment={}, given="")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert queued == ["1"]


def test_a_child_that_was_asked_already_is_not_asked_again(tmp_path):
    """A second request means: at once."""
    saved = tmp_path / "saved"

    def take_back(number, frame):
        end_running(patience_s=0.2)
        sys.exit(1)

    before = signal.signal(signal.SIGUSR2, take_back)
    try:
        with pytest.raises(SystemExit):
            run_child([sys.executable, "-c", SAVING, str(saved)], environment={}, given="")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert saved.read_text() == "1"
