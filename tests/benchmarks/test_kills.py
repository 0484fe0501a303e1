"""The script that kills runs notices what it is there to notice."""

import runpy
import signal
from pathlib import Path

import pytest

KILLS = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kills.py"))
LOG = """
Z nsmt.training.stages INFO dense: 20 updates begin, {} are done
Z nsmt.training.stages INFO going back to the newest state
Z nsmt.training.stages INFO dense: 20 updates begin, 9 are done
Z nsmt.training.stages INFO continue_dense: 10 updates begin, 0 are done
"""


def test_a_start_that_forgot_a_state_is_noticed():
    assert KILLS["gone_on"](LOG.format(14), {"dense": 14}) == [("dense", 14)]
    with pytest.raises(SystemExit, match="dense began after 0 updates, 14 were on disk"):
        KILLS["gone_on"](LOG.format(0), {"dense": 14})


def test_states_of_stages_that_are_not_finished_are_to_be_gone_on_from(tmp_path):
    for stage in ("dense", "continue_dense"):
        for update in (7, 14):
            (tmp_path / "run" / stage / "states" / f"step-{update:09d}").mkdir(parents=True)
    (tmp_path / "run" / "dense" / "checkpoint").mkdir()
    assert KILLS["done_on_disk"](tmp_path) == {"continue_dense": 14}


@pytest.mark.parametrize("when", ["training", "identification", "writing", "before training"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_trains_on_after_a_signal_is_noticed(number, when):
    assert KILLS["allowed"](number, when=when, seconds=20.0) == {75}
    assert 0 in KILLS["allowed"](number, when=when, seconds=0.5)
    assert 0 in KILLS["allowed"](number, when="scoring", seconds=20.0)
