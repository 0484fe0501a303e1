"""Claims about ranks before they train."""

from nsmt.commands.launch import shared_corpus


def test_runs_at_the_same_time_that_share_a_corpus_hear_of_it_each(small_config, monkeypatch):
    """Their launches have names of their own; a note of one is none for the other."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    configs = {
        "one": small_config("trainer=ddp_sim"),
        "two": small_config("trainer=ddp_sim", "seed=2"),
    }
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        for launch, config in configs.items():
            monkeypatch.setenv("TORCHELASTIC_RUN_ID", launch)
            assert shared_corpus(config, patience_s=5).pairs
