"""Preparation is the same bytes with any number of workers, and after being killed anywhere."""

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nsmt.data import blocks
from nsmt.data import prepare as preparation
from nsmt.data.workers import WorkerError, Workers
from nsmt.errors import DataError

SCRIPT = Path(__file__).parent / "killed.py"
KILLS = int(os.environ.get("NSMT_KILLS", "12"))


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


@pytest.fixture(scope="module")
def whole(root, tmp_path_factory):
    """The bytes of a preparation that nothing interrupted, by one worker."""
    process = start(root, tmp_path_factory.mktemp("whole"), 1)
    output, _ = process.communicate()
    assert process.returncode == 0
    return content(Path(output.strip()))


@pytest.mark.slow
def test_two_workers_make_the_bytes_of_one(root, whole, tmp_path):
    output, _ = start(root, tmp_path, 2).communicate()
    assert content(Path(output.strip())) == whole


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_preparation_killed_again_and_again_ends_with_the_same_bytes(
    root, whole, tmp_path, workers
):
    rng = random.Random(workers)
    kills, corpora, begun = 0, tmp_path / "corpora", 0
    while kills < KILLS // 2:
        process = start(root, corpora, workers)
        try:
            output, _ = process.communicate(timeout=rng.uniform(0.3, 4.0))
        except subprocess.TimeoutExpired:
            process.kill()  # SIGKILL to the parent alone: its workers must follow
            process.communicate()
            kills += 1
            begun += any(corpora.glob(".*.work/clean/*/*.arrow"))
        else:
            assert process.returncode == 0
            assert content(Path(output.strip())) == whole
            shutil.rmtree(corpora)
    output, _ = start(root, corpora, workers).communicate()
    assert content(Path(output.strip())) == whole
    assert {path.name for path in corpora.iterdir()} == {".lock", Path(output.strip()).name}
    assert begun, "no kill came while there was something to lose"


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
