"""Ranks that a launcher ends as soon as one of them has ended."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from small_run import SMALL

from nsmt.commands.processes import descendants
from nsmt.training.states import updates_on_disk

# `train.py`, with a disk that takes seconds.
SLOW_DISK = """
import sys
import time

from nsmt.cli import main
from nsmt.training import resuming, signals, states

# Other ranks end later than this after a signal if an update takes long.
signals._ONE_REQUEST_S = 0.2


def slowly(*arguments):
    time.sleep(5)
    return states.save_state(*arguments)


resuming.save_state = slowly
main(["train", *sys.argv[1:]])
"""
RUN = (
    "schedule=dense",
    "schedule.dense.updates=2000",
    "schedule.dense.validate_every=2000",
    "states.every=2000",
    "trainer=ddp_sim",
)


@pytest.mark.slow
def test_no_rank_ends_before_the_first_has_written_the_state(tmp_path):
    """Else torchrun and `srun --kill-on-bad-exit` end the first rank while it writes."""
    script = tmp_path / "train_slowly.py"
    script.write_text(SLOW_DISK)
    words = [*SMALL, *RUN, f"paths.runs={tmp_path}/runs", f"paths.corpora={tmp_path}/corpora"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher = subprocess.Popen(
        [*torchrun, "--nproc-per-node=2", str(script), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list(tmp_path.glob("runs/*/dense/metrics.csv")):
        assert launcher.poll() is None, launcher.communicate()[0]
        time.sleep(0.05)
    # As SLURM does: to all processes at once, but for the launcher.
    for process in descendants(launcher.pid):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    said = launcher.communicate(timeout=120)[0]
    (states,) = tmp_path.glob("runs/*/dense/states")
    (update,) = updates_on_disk(states)
    assert f"stopped by a signal after update {update}" in said
