"""Claims about ranks before they train."""

import pytest

from nsmt.commands.launch import prepared_corpus
from nsmt.commands.notes import RankError, telling, told


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
