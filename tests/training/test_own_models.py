"""Claims about models of one direction or pair: how long they train, and on which batches."""

import pytest
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.commands.resume import check_resume
from nsmt.commands.train import check_consistency
from nsmt.data.plan import BatchSettings
from nsmt.errors import ConfigurationError
from nsmt.models.checkpoint import load_checkpoint
from nsmt.training.settings import PartSettings, ScheduleSettings, StageSettings

SHORT = ("schedule.dense.updates=4", "schedule.specialise.updates=4")
SCHEDULE = ScheduleSettings(
    kind="two_stage",
    dense=StageSettings(
        updates=800, validate_every=200, warmup_updates=200, patience=10, tokens=64
    ),
    specialise=StageSettings(updates=150, validate_every=50, learning_rate=1e-4),
)


def test_what_is_not_given_is_as_in_the_stage_that_a_model_stands_in_for():
    assert SCHEDULE.stage("separate") == SCHEDULE.stage("dense") == SCHEDULE.dense
    assert SCHEDULE.stage("tuning") == SCHEDULE.stage("specialise") == SCHEDULE.specialise
    run = BatchSettings(tokens=999, per_update=3)
    assert SCHEDULE.stage("separate").batch(run).tokens == 64
    assert SCHEDULE.stage("tuning").batch(run) == run


def test_fewer_updates_have_all_of_the_warm_up_and_are_validated():
    own = SCHEDULE.model_copy(update={"separate": PartSettings(updates=150, patience=2)})
    stage = own.stage("separate")
    assert (stage.updates, stage.warmup_updates, stage.patience) == (150, 200, 2)
    assert stage.validate_every == 150


def test_lass_tunes_on_batches_of_its_own_and_trains_on_those_of_the_run(small_config, fitted):
    words = ("tuning.updates=2", "tuning.tokens=128", "tuning.per_update=1", "tuning.patience=7")
    config = small_config("method=lass", *SHORT, *(f"schedule.{word}" for word in words))
    train_stages(config)
    tuned = [name for name in fitted if name.startswith("lass/tuning/")]
    assert len(tuned) == len(config.data.parsed_directions)
    for name in tuned:
        settings, batch = fitted[name]
        assert (settings.updates, settings.patience) == (2, 7)
        assert (batch.tokens, batch.per_update) == (128, 1)
    settings, batch = fitted["lass"]
    assert (settings.updates, batch) == (4, config.batch)
    masks = load_checkpoint(config.folder / "lass" / "checkpoint").weight_masks
    assert [each["updates"] for each in masks.provenance["joined"]] == [2] * len(tuned)


def test_patience_can_be_that_of_one_stage(small_config):
    # Nothing learns, so no validation is better than the one before.
    words = ("specialise.updates=6", "specialise.validate_every=1", "specialise.patience=2")
    words = [f"schedule.{word}" for word in (*words, "specialise.learning_rate=1e-12")]
    config = small_config("method=continue_dense", SHORT[0], *words)
    train_stages(config)
    updates = {
        name: load_checkpoint(config.folder / name / "checkpoint").history["updates"]
        for name in ("dense", "continue_dense")
    }
    assert updates == {"dense": 4, "continue_dense": 3}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("schedule.tuning.per_update=3", "schedule.tuning.per_update=3 cannot be shared by 2"),
        ("schedule.tuning.tokens=9", "schedule.tuning.tokens=9 cannot hold a sentence"),
    ],
)
def test_batches_of_own_models_are_checked_where_there_are_such_models(small_config, word, said):
    config = small_config("method=lass", "trainer=ddp_sim", word)
    with pytest.raises(ConfigurationError, match=said):
        check_consistency(config)
    check_consistency(small_config("method=random", "trainer=ddp_sim", word))


@pytest.mark.parametrize(
    ("method", "key"), [("lass", "schedule.tuning"), ("bilingual", "schedule.separate")]
)
def test_own_models_of_too_few_sentences_are_refused_before_any_is_trained(
    small_config, method, key
):
    # All directions together have enough.
    words = (f"method={method}", "batch.per_update=900")
    with pytest.raises(ConfigurationError, match=rf"model of its own(.|\n)*set {key}.per_update"):
        prepared_corpus(small_config(*words))
    assert prepared_corpus(small_config(*words, f"{key}.per_update=4"))
    with pytest.raises(ConfigurationError, match=r"an epoch has(.|\n)*set batch.per_update to"):
        prepared_corpus(small_config(*words, f"{key}.per_update=4", "batch.per_update=100000"))


def test_a_run_without_own_models_keeps_its_name_whatever_they_would_be(small_config, finished_run):
    plain = small_config("method=random")
    assert {"separate", "tuning"}.isdisjoint(plain.identity()["schedule"])
    assert "patience" not in plain.identity()["schedule"]["dense"]
    words = ("schedule.tuning.updates=7", "schedule.separate.updates=7")
    assert small_config("method=random", *words).run_name == plain.run_name
    # Nor does a run of another method stand in the way of one that has such models.
    taking_over = ("resume_changes=[method]", f"resume={finished_run}", words[0])
    check_resume(small_config("method=lass", *taking_over))
    lass = small_config("method=lass")
    assert small_config("method=lass", words[1]).run_name == lass.run_name
    assert small_config("method=lass", words[0]).run_name != lass.run_name
