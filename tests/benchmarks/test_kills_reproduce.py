"""The script that kills reproductions notices what it is there to notice."""

import fcntl
import importlib
import json
import os
import signal
from pathlib import Path

import pytest

NS = "neuron_specialization"


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("kills_disk")


@pytest.fixture
def script(disk):
    return importlib.import_module("kills_reproduce")


@pytest.fixture
def run(tmp_path):
    """A run whose dense model is trained, identified and has translated."""
    folder = tmp_path / "runs" / "smoke-0"
    files = ("dense/checkpoint/vocabulary.model", "dense/metrics.csv", "identification/s")
    for name in (*files, "translations/en-de/hyp.dense.txt"):
        write(folder / name, "x")
    write(folder / "translations" / "dense.json", '{"files": {"en-de/hyp.dense.txt": ""}}')
    return folder


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def finish(run):
    write(run / "record.json", '{"finished": ""}')
    write(run / "report" / "report.html", "")


def test_what_was_finished_and_is_written_again_is_noticed(disk, tmp_path, run):
    write(run / NS / "metrics.csv", "not finished")
    before = disk.kept(tmp_path)
    write(run / NS / "metrics.csv", "gone on")
    disk.changed(before, disk.kept(tmp_path))
    path = run / "dense" / "checkpoint" / "vocabulary.model"
    os.utime(path, ns=(1, 1))
    with pytest.raises(SystemExit, match=f"made again: \\['{path}'\\]"):
        disk.changed(before, disk.kept(tmp_path))


def test_of_a_finished_run_every_file_stays_as_it_is(disk, tmp_path, run):
    finish(run)
    before = disk.kept(tmp_path)
    write(run / "evaluations" / "zero_shot-0" / "translations" / "en-de" / "src.txt", "begun")
    disk.changed(before, disk.kept(tmp_path))
    write(run / "report" / "report.html", "anew")
    with pytest.raises(SystemExit, match=r"report\.html"):
        disk.changed(before, disk.kept(tmp_path))


@pytest.mark.parametrize(
    "line",
    [
        "dense: 30 updates begin, 0 are done",
        "identified the neurons of 6 directions",
        "translated the test sets with dense",
    ],
)
def test_a_log_that_tells_of_something_finished_begun_again_is_noticed(disk, tmp_path, run, line):
    write(run / "log.txt", f"{line}\n")
    logs = disk.Logs.of(tmp_path)
    with (run / "log.txt").open("a") as file:
        file.write(f"{NS}: 10 updates begin, 7 are done\ntranslated the test sets with {NS}\n")
    logs.begun_again()
    with (run / "log.txt").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(SystemExit, match="began again with"):
        logs.begun_again()


def test_a_finished_run_whose_log_goes_on_is_noticed(disk, tmp_path, run):
    finish(run)
    logs = disk.Logs.of(tmp_path)
    logs.begun_again()
    write(run / "log.txt", "corpus\n")
    with pytest.raises(SystemExit, match="was finished, and began again: corpus"):
        logs.begun_again()


@pytest.mark.parametrize("name", [".main.csv.77.partial", ".dense.77.old", "failure.json"])
def test_what_is_left_behind_is_noticed(disk, tmp_path, run, name):
    disk.outcome(tmp_path)
    write(run / name, "")
    with pytest.raises(SystemExit, match="left behind"):
        disk.outcome(tmp_path)


def test_a_lock_may_be_there_but_not_be_held(disk, tmp_path):
    lock = tmp_path / ".smoke-0.run.lock"
    write(lock, "")
    disk.outcome(tmp_path)
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SystemExit, match="left behind"):
            disk.outcome(tmp_path)


def test_outcomes_differ_in_numbers_and_not_in_times_and_places(disk, tmp_path):
    found = []
    for place, at, score in (("a", "01", 1), ("b", "02", 1), ("b", "02", 2)):
        told = {"finished": f"2026-01-{at}T00:00:00+00:00", "scores": score}
        told |= {"output": str(tmp_path / place)} | ({"resumed": []} if place == "b" else {})
        write(tmp_path / place / "record.json", json.dumps(told))
        write(
            tmp_path / place / "report.html",
            f"<dt>resumed after</dt><dd>{place}</dd><dt>finished</dt><dd>{told['finished']}</dd>",
        )
        found.append(disk.outcome(tmp_path / place))
    assert found[0] == found[1] != found[2]


def test_tensors_differ_in_values_and_metadata_and_not_in_the_order_of_metadata(disk, tmp_path):
    def content(told, values):
        header = json.dumps({"__metadata__": told}).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + values)
        return disk._content(path, tmp_path)

    one = content({"a": "1", "b": "2"}, b"values")
    assert one == content({"b": "2", "a": "1"}, b"values")
    assert one != content({"a": "1", "b": "3"}, b"values")
    assert one != content({"a": "1", "b": "2"}, b"others")


def test_a_command_that_waits_for_a_run_has_to_hear_a_signal(script):
    asked = {"when": "method training", "whom": "the command"}
    assert script.allowed(signal.SIGTERM, **asked) == {75}
    assert script.allowed(signal.SIGTERM, when="probe", whom="the command") == {75}
    assert script.allowed(signal.SIGKILL, **asked) == {-9}
    assert -15 in script.allowed(signal.SIGTERM, when="page", whom="the command")
    assert 0 not in script.allowed(signal.SIGTERM, when="page", whom="a worker")
