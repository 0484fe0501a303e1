"""Claims about ranks before they train."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nsmt.commands.launch import prepared_corpus
from nsmt.commands.notes import RankError, telling, told
from nsmt.commands.train import train
from nsmt.training.world import launch_identity
from nsmt.turns import taking_turns


@pytest.fixture
def as_rank(monkeypatch):
    """Be one of two ranks of a launch."""

    def become(rank, launch="one"):
        names = {"WORLD_SIZE": "2", "RANK": str(rank), "TORCHELASTIC_RUN_ID": launch}
        for name, value in names.items():
            monkeypatch.setenv(name, value)

    return become


def test_runs_at_the_same_time_that_share_a_corpus_hear_of_it_each(small_config, as_rank):
    """Their launches have names of their own; a note of one is none for the other."""
    configs = {
        "one": small_config("trainer=ddp_sim"),
        "two": small_config("trainer=ddp_sim", "seed=2"),
    }
    for launch, config in configs.items():
        as_rank(0, launch)
        with telling(config) as tell:
            tell(prepared_corpus(config))
    for launch, config in configs.items():
        as_rank(1, launch)
        assert told(config, patience_s=5).pairs


def test_other_ranks_hear_that_there_is_nothing_to_do(small_config, as_rank):
    config = small_config("trainer=ddp_sim")
    as_rank(0)
    with telling(config) as tell:
        tell(None)
    as_rank(1)
    assert told(config, patience_s=5) is None


def test_ranks_that_come_when_the_first_is_done_hear_what_it_said(small_config, as_rank):
    """Where all stages are there already, no rank waits for another."""
    config = small_config("trainer=ddp_sim")
    as_rank(0)
    with telling(config) as tell:
        tell(prepared_corpus(config))
    as_rank(1)
    assert told(config, patience_s=5).pairs
    as_rank(1, "the next launch")
    with pytest.raises(RankError, match="no corpus in time"):
        told(config, patience_s=0.1)


def spoke_long_ago(config):
    (note,) = config.folder.parent.glob(".*.note")
    os.utime(note, (0, 0))


def test_a_rank_that_starts_long_after_the_first_spoke_hears_it(small_config, as_rank):
    config = small_config("trainer=ddp_sim")
    as_rank(0)
    with telling(config) as tell:
        tell(prepared_corpus(config))
    spoke_long_ago(config)
    as_rank(1)
    assert told(config, patience_s=0.1).pairs


def test_old_notes_are_none_where_launches_look_alike(small_config, as_rank, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    config = small_config("trainer=ddp_sim")
    as_rank(0)
    with telling(config) as tell:
        tell(None)
    spoke_long_ago(config)
    as_rank(1)
    with pytest.raises(RankError, match="no corpus in time"):
        told(config, patience_s=0.1)


def test_a_job_that_slurm_requeued_is_another_launch(as_rank, monkeypatch):
    as_rank(0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    first = launch_identity()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert launch_identity() != first


def test_the_same_command_started_meanwhile_leaves_the_note_alone(
    run_copy, small_config, as_rank, monkeypatch
):
    """The other ranks of the first may not have read it yet."""
    config = small_config(f"paths.runs={run_copy.parent}")
    as_rank(0)
    with telling(config) as tell:
        tell(prepared_corpus(config))
    for name in ("WORLD_SIZE", "RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name)
    train(config)
    as_rank(1)
    assert told(config, patience_s=0.1).pairs


def test_a_launch_speaks_only_when_it_is_its_turn(small_config, as_rank, monkeypatch):
    """Before, the ranks of another may wait for a note of theirs."""
    config = small_config("trainer=ddp_sim")
    as_rank(0, "one")
    with telling(config) as tell:
        tell(prepared_corpus(config))
    read = []

    def work():
        with taking_turns(config.lock("run")):
            begun.set()
            time.sleep(0.5)
            (note,) = config.folder.parent.glob(".*.note")
            read.append(note.read_text())

    monkeypatch.setattr("nsmt.commands.train._train", lambda *given: None)
    begun = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        begun.wait()
        as_rank(0, "two")
        train(config)
    assert "RUN_ID=one" in read[0]
