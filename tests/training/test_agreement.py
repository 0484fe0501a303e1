"""Ranks on several nodes do not see the same files at once: what the first sees counts."""

import os
import subprocess
import sys

import pytest
from small_run import SMALL

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")

TOGETHER = """
import json
import sys
from pathlib import Path

from nsmt.data.plan import Position
from nsmt.errors import DataError
from nsmt.training.going import Going
from nsmt.training.settings import TrainerSettings
from nsmt.training.snapshot import of_first_rank
from nsmt.training.states import StageState, save_state
from nsmt.training.world import join_ranks, rank

join_ranks(TrainerSettings(devices=2))
assert of_first_rank(lambda: [rank()]) == [0]


def fail():
    raise DataError("no text", fix="get some")


try:
    of_first_rank(fail)
except DataError as error:
    assert error.fix == "get some"
else:
    raise AssertionError

folder = Path(sys.argv[1])
if rank() == 0:
    save_state(folder / "states", StageState(3, Position(done=3), {}, {}))
    went_back = {"update": 3, "position": {"done": 4}, "rollbacks": 2, "tried": [3], "useless": []}
    (folder / "states" / "went_back.json").write_text(json.dumps(went_back))
going = Going(folder, {}, terms={}, updates=9)
state = going.state()
assert (state is None) == (rank() > 0)
assert (going.update, going.rollbacks) == (3, 2)
"""

# A group that a cycle holds, as a trainer does: what Python says of it after all handlers of ours.
LEAVING = """
import atexit
import sys
import weakref
from pathlib import Path

import torch

from nsmt.training.settings import TrainerSettings
from nsmt.training.world import join_ranks, rank

atexit.register(lambda: (Path(sys.argv[1]) / f"{rank()}.txt").write_text(str(group())))
join_ranks(TrainerSettings(devices=2))
cycle = [torch.distributed.group.WORLD]
cycle.append(cycle)
group = weakref.ref(cycle[0])
del cycle
torch.distributed.all_reduce(torch.ones(1))
"""

# `train.py`, whose second rank does not see yet what the first wrote.
BLIND = """
import os
import sys
from pathlib import Path

from nsmt.cli import main

if os.environ["RANK"] == "1":
    exists = Path.exists

    def late(path, *arguments, **named):
        return path.name != "checkpoint" and exists(path, *arguments, **named)

    Path.exists = late
main(["train", *sys.argv[1:]])
"""


def torchrun(script, *words):
    done = subprocess.run(
        [*TORCHRUN, str(script), *words],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_all_ranks_get_the_answer_of_the_first_and_its_errors(tmp_path):
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    torchrun(script, str(tmp_path))


@pytest.mark.slow
def test_ranks_leave_their_group_before_python_ends(tmp_path):
    script = tmp_path / "leaving.py"
    script.write_text(LEAVING)
    torchrun(script, str(tmp_path))
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == ["None", "None"]


@pytest.mark.slow
def test_a_rank_that_does_not_see_a_finished_stage_does_not_train_it(run_copy, corpora, tmp_path):
    (run_copy / "report" / "report.html").unlink()
    script = tmp_path / "train_blindly.py"
    script.write_text(BLIND)
    paths = (f"paths.runs={run_copy.parent}", f"paths.corpora={corpora}")
    before = (run_copy / "log.txt").read_text()
    torchrun(script, *SMALL, *paths, "trainer=ddp_sim")
    assert (run_copy / "report" / "report.html").is_file()
    assert "updates begin" not in (run_copy / "log.txt").read_text().removeprefix(before)
