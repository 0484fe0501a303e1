"""`resume=…`: what a run does where there is something to go on from, and where there is not."""

import csv
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.commands.resume import begin, check_resume, take_over
from nsmt.commands.train import train
from nsmt.errors import CheckpointError, ConfigurationError, DataError
from nsmt.models.checkpoint import load_checkpoint
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.records import read_record, write_record
from nsmt.training.module import TranslationModule
from nsmt.turns import taking_turns

STAGE = (
    "schedule=dense",
    "schedule.dense.updates=20",
    "schedule.dense.validate_every=8",
    "states.every=3",
    "callbacks.log_every=1",
    "model.dropout=0.0",
)


def weights(config):
    return load_file(config.folder / "dense" / "checkpoint" / "model.safetensors")


@pytest.fixture
def die_at(monkeypatch):
    """Fail in the forward pass of an update."""
    real = TranslationModule.training_step

    def arrange(update):
        def step(module, batch, batch_idx):
            if module.trainer.global_step + 1 == update:
                raise KeyError("killed")
            return real(module, batch, batch_idx)

        monkeypatch.setattr(TranslationModule, "training_step", step)
        return lambda: monkeypatch.setattr(TranslationModule, "training_step", real)

    return arrange


def test_must_needs_a_run_to_go_on_with(small_config):
    with pytest.raises(ConfigurationError, match="nothing was begun"):
        train(small_config(*STAGE, "resume=must"))


def test_never_starts_a_finished_run_again(run_copy, small_config):
    record = read_record(run_copy)
    again = small_config("resume=never", f"paths.runs={run_copy.parent}")
    assert again.folder == run_copy
    train(again)
    assert read_record(run_copy)["started"] >= record["finished"]
    assert "resumed" not in read_record(run_copy)


def test_never_refuses_to_begin_on_what_it_cannot_delete(run_copy, small_config, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("nsmt.commands.resume.shutil.rmtree", refuse)
    with pytest.raises(ConfigurationError, match=r"cannot be deleted.*Permission denied"):
        begin(small_config("resume=never", f"paths.runs={run_copy.parent}"))
    assert read_record(run_copy)["finished"]


def test_never_waits_for_the_ranks_of_a_parent_that_was_killed(run_copy, small_config):
    config = small_config("resume=never", f"paths.runs={run_copy.parent}")
    with ThreadPoolExecutor(1) as pool:
        with taking_turns(config.lock("ranks")):
            begun = pool.submit(begin, config)
            time.sleep(0.5)
            assert run_copy.is_dir()
        begun.result()
    assert not run_copy.exists()


def test_what_a_killed_start_left_in_the_run_folder_is_swept_away(small_config):
    config = small_config(*STAGE)
    for name in (".identification.7.partial", ".dense.7.partial", "report/tables/.x.7.old"):
        (config.folder / name).mkdir(parents=True)
    elsewhere = config.folder / "evaluations" / "one" / ".record.json.7.partial"
    elsewhere.mkdir(parents=True)
    train(config)
    assert list(config.folder.rglob(".*")) == [elsewhere]


def test_the_stages_of_another_run_are_taken_over(small_config, die_at):
    first = small_config(*STAGE, "name=first")
    undo = die_at(14)
    with pytest.raises(KeyError):
        train(first)
    undo()
    train(small_config(*STAGE, "name=alone"))
    second = small_config(*STAGE, "name=second", f"resume={first.folder}", "resume_changes=[name]")
    train(second)
    expected = weights(small_config(*STAGE, "name=alone"))
    assert all(torch.equal(expected[name], found) for name, found in weights(second).items())
    log = (second.folder / "log.txt").read_text()
    assert "20 updates begin, 12 are done" in log


def taken_over(small_config, folder, *words):
    """The configuration of a run that goes on with another's stages under other settings."""
    keys = ",".join(("name", *(word.partition("=")[0] for word in words)))
    return small_config(
        *STAGE, *words, "name=second", f"resume={folder}", f"resume_changes=[{keys}]"
    )


@pytest.fixture
def begun(small_config, die_at):
    """The folder of a run that was killed after the state of update 12."""
    config = small_config(*STAGE, "name=first")
    undo = die_at(14)
    with pytest.raises(KeyError):
        train(config)
    undo()
    return config.folder


def learning_rates(config):
    with (config.folder / "dense" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/learning_rate"]]
    return {int(row["step"]): float(row["train/learning_rate"]) for row in rows}


def history(config):
    return load_checkpoint(config.folder / "dense" / "checkpoint").history


def test_what_may_change_in_a_begun_stage_is_changed_from_there_on(small_config, begun, capsys):
    words = ("optimizer.learning_rate=0.002", "optimizer.decay=constant")
    config = taken_over(small_config, begun, *words, "schedule.dense.updates=24")
    train(config)
    rates = learning_rates(config)
    # Of the update that comes next.
    assert rates[12] == pytest.approx(0.005 * (10 / 13) ** 0.5)
    assert [rates[update] for update in range(13, 25)] == [0.002] * 12
    assert history(config)["updates"] == 24
    assert history(config)["settings"]["optimizer.learning_rate"] == 0.002
    said = capsys.readouterr().err
    assert "dense goes on after 12 updates under other settings" in said
    assert "optimizer.learning_rate: 0.005 then, 0.002 now" in said
    assert "schedule.dense.updates: 20 then, 24 now" in said


@pytest.mark.parametrize(
    ("word", "then"),
    [
        ("callbacks.keep=ema", "last"),
        ("callbacks.patience=3", "None"),
        ("model.d_ff=64", "48"),
        ("batch.tokens=600", "512"),
        ("data.temperature=5.0", "1.0"),
        ("seed=4", "1"),
    ],
)
def test_what_cannot_change_in_a_begun_stage_is_refused_by_name(small_config, begun, word, then):
    key, _, now = word.partition("=")
    with pytest.raises(CheckpointError, match=f"{key}: {then} then, {now} now"):
        train(taken_over(small_config, begun, word))


def test_a_begun_stage_cannot_end_before_where_it_is(small_config, begun):
    words = ("schedule.dense.updates=12", "schedule.dense.validate_every=4")
    with pytest.raises(CheckpointError, match="has done 12 updates already, and is to end after"):
        train(taken_over(small_config, begun, *words))


def test_a_finished_stage_is_not_passed_off_as_what_was_asked_for(small_config, capsys):
    first = small_config(*STAGE, "name=first")
    train(first)
    with pytest.raises(CheckpointError, match=r"schedule.dense.updates: 20 then, 24 now"):
        train(taken_over(small_config, first.folder, "schedule.dense.updates=24"))
    # That may be meant for stages that follow.
    train(taken_over(small_config, first.folder, "optimizer.learning_rate=0.002"))
    said = capsys.readouterr().err
    assert "dense is finished and stays as it was made:" in said
    assert "optimizer.learning_rate: 0.005 then, 0.002 now" in said


def test_other_masks_than_asked_for_are_not_passed_off_as_theirs(small_config, run_copy):
    changes = "resume_changes=[name,selection]"
    words = ("name=second", f"resume={run_copy}", changes, "selection.k=50")
    with pytest.raises(CheckpointError, match=r"selection.k: .* then, 50.0 now"):
        train_taken_over(small_config(*words))
    # Dense and control are the same by any k.
    shutil.rmtree(run_copy / "neuron_specialization")
    again = small_config(*words)
    shutil.rmtree(again.folder)
    train_taken_over(again)
    masks = load_checkpoint(again.folder / "neuron_specialization" / "checkpoint")
    assert masks.history["settings"]["selection.k"] == 50.0


def train_taken_over(config):
    take_over(config, prepared_corpus(config), {})
    train_stages(config)


def test_neurons_are_identified_again_by_another_rule(small_config, run_copy):
    shutil.rmtree(run_copy / "neuron_specialization")
    words = ("selection.count_padding=true", f"resume={run_copy}", "name=second")
    config = small_config(*words, "resume_changes=[name,selection]")
    train_taken_over(config)
    before, after = (
        ActivationStatistics.load(folder / "identification" / "statistics.safetensors")
        for folder in (run_copy, config.folder)
    )
    assert after.rule.count_padding
    assert not before.rule.count_padding


def test_a_changed_configuration_shows_every_difference(small_config, finished_run):
    config = small_config("optimizer.learning_rate=0.1", "seed=4", f"resume={finished_run}")
    with pytest.raises(ConfigurationError) as refused:
        check_resume(config)
    assert "optimizer.learning_rate: 0.005 then, 0.1 now" in str(refused.value)
    assert "seed: 1 then, 4 now" in str(refused.value)
    check_resume(small_config("seed=4", f"resume={finished_run}", "resume_changes=[seed]"))
    with pytest.raises(ConfigurationError, match="nor the folder of a run"):
        check_resume(small_config("resume=sometimes"))


def test_a_run_whose_configuration_is_not_read_is_refused_by_key(small_config, run_copy):
    record = read_record(run_copy)
    record["config"]["model"]["depth"] = 3
    write_record(run_copy, record)
    with pytest.raises(DataError, match=r"does not read: model\.depth: "):
        check_resume(small_config(f"resume={run_copy}"))


def test_a_run_of_other_text_is_not_taken_over(small_config, run_copy):
    write_record(run_copy, read_record(run_copy) | {"data_fingerprint": "other"})
    config = small_config("seed=4", f"resume={run_copy}", "resume_changes=[seed]")
    with pytest.raises(DataError, match="other text"):
        take_over(config, prepared_corpus(config), {})


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 4])
def test_a_stage_goes_on_with_another_number_of_ranks(small_config, die_at, ranks):
    words = (*STAGE, "batch.per_update=4")
    alone = small_config(*words, "name=alone")
    train(alone)
    config = small_config(*words)
    undo = die_at(14)
    with pytest.raises(KeyError):
        train(config)
    undo()
    wider = small_config(*words, "trainer=ddp_sim", f"trainer.devices={ranks}")
    assert wider.folder == config.folder
    assert train_stages(wider) == ["dense"]
    log = (wider.folder / "log.txt").read_text()
    assert "20 updates begin, 12 are done" in log
    expected, found = weights(alone), weights(wider)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=1e-4)
