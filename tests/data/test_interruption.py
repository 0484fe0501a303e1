"""Preparation is the same bytes with any number of workers, and after being killed anywhere."""

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from nsmt.data import blocks
from nsmt.data import prepare as preparation
from nsmt.data.workers import WorkerError, Workers
from nsmt.errors import DataError

SCRIPT = Path(__file__).parent / "killed.py"
KILLS = int(os.environ.get("NSMT_KILLS", "12"))
PAIRS = 2


def start(root, corpora, workers):
    command = [sys.executable, str(SCRIPT), str(root), str(corpora), str(workers)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=SCRIPT.parents[2], start_new_session=True
    )


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Text with repetitions and empty lines; en-de and fr-en share their English."""
    folder = tmp_path_factory.mktemp("text")
    rng = random.Random(0)
    words = [f"{a}{b}" for a in "bdfgklm" for b in ("a", "in", "or", "est")]
    rows = []
    for number in range(6000):
        if number % 50 == 49:
            rows.append(rng.choice(rows))
            continue
        length = 0 if number % 97 == 0 else rng.randint(3, 15)
        rows.append(" ".join(rng.choice(words) for _ in range(length)))
    for pair, other in (("en-de", "de"), ("fr-en", "fr")):
        english = "".join(f"{row}\n" for row in rows)
        (folder / f"train.{pair}.en").write_text(english)
        (folder / f"train.{pair}.{other}").write_text(english.replace("a", f"{other}a"))
    return folder


def finished(corpora):
    """The files that a preparation has done with, those of an unfinished corpus among them."""
    return {
        Path(folder, name)
        for folder, _, names in os.walk(corpora)
        for name in names
        if not name.endswith(".partial") and name != ".lock"
    }


def stage(corpora):
    """What a preparation was at, by the files that it left."""
    names = [str(path.relative_to(corpora)) for path in finished(corpora)]
    if any(".partial/" in name for name in names):
        return "writing"
    if any(name.endswith("vocabulary.model") for name in names):
        return "encoding"
    return "learning" if sum(name.endswith(".done") for name in names) == PAIRS else "cleaning"


def killed(process, corpora, *, files, delay):
    """SIGKILL to the parent alone, some time after it made so many files; was it still at work?"""
    before = finished(corpora)
    while process.poll() is None:
        if len(finished(corpora) - before) >= files:
            time.sleep(delay)
            process.kill()
            break
        time.sleep(0.002)
    process.wait()
    # One that had ended by itself has a status of its own.
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """What a preparation makes that nothing interrupts: bytes, files at most, seconds of work."""
    corpora, most = tmp_path_factory.mktemp("whole") / "corpora", 0
    process, begun = start(root, corpora, 1), None
    while process.poll() is None:
        most = max(most, len(finished(corpora)))
        begun = begun or (most and time.monotonic())
        time.sleep(0.002)
    assert process.returncode == 0
    return content(Path(process.stdout.read().strip())), most, time.monotonic() - begun


@pytest.mark.slow
def test_two_workers_make_the_bytes_of_one(root, whole, tmp_path):
    output, _ = start(root, tmp_path / "corpora", 2).communicate()
    assert content(Path(output.strip())) == whole[0]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_preparation_killed_again_and_again_ends_with_the_same_bytes(
    root, whole, tmp_path, workers
):
    rng, corpora, stages = random.Random(workers), tmp_path / "corpora", Counter()
    expected, most, seconds = whole
    tried = 0
    while stages.total() < KILLS // 2 and tried < KILLS:
        process = start(root, corpora, workers)
        tried += 1
        # By files first: how long a process takes to begin differs from machine to machine.
        files, delay = rng.randint(1, most // 10), rng.uniform(0, seconds / 12)
        if killed(process, corpora, files=files, delay=delay):
            stages[stage(corpora)] += 1
        else:
            assert process.returncode == 0
            assert content(Path(process.stdout.read().strip())) == expected
            shutil.rmtree(corpora)
    folder = Path(start(root, corpora, workers).communicate()[0].strip())
    assert content(folder) == expected
    assert {path.name for path in corpora.iterdir()} == {".lock", folder.name}
    sys.stdout.write(f"{workers} workers: {stages.total()} of {tried} kills hit: {stages}\n")
    assert stages.total() >= 0.8 * tried, "too many kills came after the end"


def _die(_: int) -> None:
    os.kill(os.getpid(), 9)


def _square(number: int) -> int:
    time.sleep(random.Random(number).uniform(0, 0.02))
    return number * number


@pytest.mark.slow
def test_results_come_in_the_order_of_the_tasks():
    with Workers(2) as workers:
        assert list(workers.map(_square, range(40))) == [n * n for n in range(40)]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_told():
    with Workers(2) as workers, pytest.raises(WorkerError, match="killed from outside"):
        list(workers.map(_die, range(4)))


@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_full_disk_is_told_and_finished_work_kept(run, synthetic, tmp_path, monkeypatch, call):
    real, calls = blocks.replace_file, []

    def full(path):
        calls.append(path)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    with monkeypatch.context() as patch:
        for module in (blocks, preparation, sys.modules["nsmt.data.encode"]):
            patch.setattr(module, "replace_file", full)
        with pytest.raises(DataError, match="no space left"):
            run(synthetic)
    assert not [p for p in (tmp_path / "corpora").iterdir() if not p.name.startswith(".")]
    assert run(synthetic).folder.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_really_full_disk_is_told(run, synthetic, tmp_path):
    corpora = tmp_path / "corpora"
    corpora.mkdir()
    options = ["-t", "tmpfs", "-o", "size=96k", "nsmt-test", str(corpora)]
    mounted = subprocess.run(["mount", *options], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with pytest.raises(DataError, match="no space left"):
            run(synthetic)
        assert not [p for p in corpora.iterdir() if not p.name.startswith(".")]
        subprocess.run(["mount", "-o", "remount,size=8m", str(corpora)], check=True)
        run(synthetic).verify()
    finally:
        subprocess.run(["umount", str(corpora)], check=True)
