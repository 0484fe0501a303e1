"""Claims about stages whose batches are not those of the run."""

import pytest
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.commands.resume import take_over
from nsmt.commands.train import check_consistency, train
from nsmt.errors import CheckpointError, ConfigurationError

SHORT = ("schedule.dense.updates=2", "schedule.specialise.updates=2")
DENSE = ("schedule.dense.tokens=128", "schedule.dense.per_update=1")
SECOND = "schedule.specialise.per_update=4"


def batches(fitted):
    return {name: (batch.tokens, batch.per_update) for name, (_, batch) in fitted.items()}


def test_each_stage_has_its_own_and_the_runs_where_it_has_none(small_config, fitted):
    config = small_config("method=random", *SHORT, *DENSE, SECOND)
    train_stages(config)
    second = (512, 4)
    assert batches(fitted) == {"dense": (128, 1), "continue_dense": second, "random": second}


def test_own_models_take_those_of_the_stage_that_they_stand_in_for(small_config, fitted):
    words = ("method=bilingual", "schedule.separate.per_update=2", "schedule.separate.updates=1")
    train_stages(small_config(*words, *SHORT, *DENSE))
    found = batches(fitted)
    assert (found.pop("dense"), found.pop("continue_dense")) == ((128, 1), (512, 2))
    assert found
    assert set(found.values()) == {(128, 2)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("schedule.dense.per_update=3",), "schedule.dense.per_update=3 cannot be shared by 2"),
        (("schedule.specialise.tokens=9",), "schedule.specialise.tokens=9 cannot hold a sentence"),
        # Told once, by the key that asks for it.
        (("batch.per_update=3",), r"together:\n  - batch.per_update=3 [^\n]*\n  fix"),
        (
            ("method=lass", "schedule.specialise.per_update=3"),
            r"together:\n  - schedule.specialise.per_update=3 [^\n]*\n  fix",
        ),
    ],
)
def test_they_are_checked_before_any_work(small_config, words, said):
    with pytest.raises(ConfigurationError, match=said):
        check_consistency(small_config("method=random", "trainer=ddp_sim", *words))


def test_those_of_a_stage_that_there_is_not_are_left_alone(small_config):
    words = ("schedule=dense", "trainer=ddp_sim", "schedule.specialise.per_update=3")
    check_consistency(small_config(*words))
    # Nor are the run's, where no stage has them.
    check_consistency(small_config(*words, "schedule.dense.per_update=2", "batch.per_update=3"))


def test_updates_of_more_batches_than_sentences_are_refused_by_stage(small_config):
    with pytest.raises(ConfigurationError, match=r"set schedule.specialise.per_update to"):
        prepared_corpus(small_config("schedule.specialise.per_update=100000"))
    assert prepared_corpus(small_config("schedule=dense", "schedule.specialise.per_update=100000"))


def test_a_check_tells_those_of_each_stage(small_config, capsys):
    train(small_config("check=true", "method=random"))
    assert "cpu, 2 x 512 tokens an update\n" in capsys.readouterr().out
    train(small_config("check=true", "method=lass", *DENSE, "schedule.tuning.tokens=256"))
    told = "cpu, 1 x 128 (dense), 2 x 512 (specialise), 2 x 256 (tuning) tokens an update\n"
    assert told in capsys.readouterr().out


def test_they_name_a_run_only_where_they_train_something(small_config):
    def name(*words):
        return small_config(*words).run_name

    # As before there was a choice.
    for stage in ("dense", "specialise"):
        assert {"tokens", "per_update"}.isdisjoint(small_config().identity()["schedule"][stage])
    assert len({name(), name(*DENSE), name(SECOND), name(DENSE[0])}) == 4
    assert name("schedule=dense", SECOND) == name("schedule=dense")
    assert name("schedule=dense", *DENSE) != name("schedule=dense")
    given = ("schedule=specialize", "schedule.checkpoint=x")
    assert name(*given, *DENSE) == name(*given)
    assert name(*given, SECOND) != name(*given)
    # Bilingual models take them from the dense stage, which is not trained.
    assert name(*given, "method=bilingual", *DENSE) != name(*given, "method=bilingual")


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("schedule.dense.tokens=256", "finished(.|\n)*schedule.dense.tokens: None then, 256 now"),
        (SECOND, "middle of a stage(.|\n)*specialise.per_update: None then, 4 now"),
    ],
)
def test_a_stage_does_not_go_on_with_others(small_config, at_update, word, said):
    def kill():
        raise KeyError("killed")

    words = ("method=continue_dense", SHORT[0], "schedule.specialise.updates=8", "states.every=2")
    killed = small_config(*words, "name=first")
    at_update({5: kill})
    with pytest.raises(KeyError):
        train(killed)
    changes = f"resume_changes=[name,{word.partition('=')[0]}]"
    config = small_config(*words, word, "name=second", f"resume={killed.folder}", changes)
    take_over(config, prepared_corpus(config), {})
    with pytest.raises(CheckpointError, match=said):
        train_stages(config)
