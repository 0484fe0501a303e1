"""Stages that are interrupted anywhere end with the weights and metrics of those that are not."""

import os
import shutil
import signal

import pytest
from killed_stages import STAGE, Killed, die, require_equal, run, until_done
from safetensors import SafetensorError

from nsmt.errors import CheckpointError, PreemptionError
from nsmt.training import resuming as resuming_module
from nsmt.training import schedule as schedule_module
from nsmt.training import states as states_module
from nsmt.training.states import (
    load_state,
    newest_state,
    save_state,
    state_folder,
    updates_on_disk,
)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("callbacks.keep=best",),
        # States taken where weights were just validated.
        ("callbacks.keep=best", "states.every=4", "schedule.dense.validate_every=4"),
        ("callbacks.keep=average", "states.every=4", "schedule.dense.validate_every=4"),
        ("callbacks.keep=ema", "states.every=4", "schedule.dense.validate_every=4"),
        ("callbacks.keep=average", "callbacks.average=2"),
        ("callbacks.keep=ema", "callbacks.ema_decay=0.9"),
        ("callbacks.patience=1", "optimizer.learning_rate=0.3", "divergence.explosion=1e9"),
        ("batch.layout=packed", "trainer.background=true"),
        ("optimizer.clip_norm=0.5", "optimizer.name=adamw", "optimizer.weight_decay=0.1"),
    ],
    ids=lambda words: " ".join(words) or "plain",
)
def test_a_stage_killed_three_times_equals_one_that_was_not(
    small_config, tmp_path, at_update, words
):
    whole = run(small_config(*STAGE, *words))
    again = small_config(*STAGE, *words, f"paths.runs={tmp_path}/again")
    # Before the first state, between states, and where a validation was just done.
    firsts = at_update({2: die, 8: die, 9: die, 11: die})
    found, kills = until_done(again)
    assert kills >= 3
    every = again.states.every
    assert firsts == [1 + done // every * every for done in (0, 1, 7, 8, 10)][: kills + 1]
    require_equal(whole, found)
    assert not (found / "states").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_a_stage_where_its_state_is_whole(small_config, tmp_path, at_update, number):
    whole = run(small_config(*STAGE))
    again = small_config(*STAGE, f"paths.runs={tmp_path}/again")
    before = signal.getsignal(number)
    asked = dict.fromkeys((10, 16), lambda: os.kill(os.getpid(), number))
    firsts = at_update(asked)
    for update in (10, 16):
        with pytest.raises(PreemptionError, match=f"after update {update}"):
            run(again)
        assert updates_on_disk(again.folder / "dense" / "states")[-1] == update
        assert signal.getsignal(number) == before
    require_equal(whole, run(again))
    assert firsts == [1, 11, 17]


def test_a_signal_during_the_last_update_is_not_lost(small_config, tmp_path, at_update):
    whole = run(small_config(*STAGE))
    again = small_config(*STAGE, f"paths.runs={tmp_path}/again")
    at_update({20: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    with pytest.raises(PreemptionError, match="what was finished is kept"):
        run(again)
    require_equal(whole, again.folder / "dense")


def test_a_signal_during_identification_ends_the_run_after_it(small_config, monkeypatch):
    words = (*STAGE, "schedule=two_stage", "schedule.specialise.updates=4")
    config = small_config(*words)
    real = schedule_module.gather_statistics

    def interrupted(*arguments, **named):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **named)

    monkeypatch.setattr(schedule_module, "gather_statistics", interrupted)
    with pytest.raises(PreemptionError, match="SIGTERM"):
        run(config)
    assert not (config.folder / "continue_dense").exists()
    monkeypatch.setattr(schedule_module, "gather_statistics", None)
    run(config)
    statistics = config.folder / "identification" / "statistics.safetensors"
    before = statistics.read_bytes()
    # Damaged, it is made again.
    statistics.write_bytes(before[:-1])
    shutil.rmtree(config.folder / "neuron_specialization")
    monkeypatch.setattr(schedule_module, "gather_statistics", real)
    run(config)
    assert statistics.read_bytes() == before


def test_a_damaged_checkpoint_of_a_finished_stage_is_refused(small_config):
    config = small_config(*STAGE)
    stage = run(config)
    file = stage / "checkpoint" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="corrupt"):
        run(config)


def test_states_made_from_something_else_are_passed_over(small_config, at_update, caplog):
    config = small_config(*STAGE)
    at_update({14: die})
    with pytest.raises(Killed):
        run(config)
    states = config.folder / "dense" / "states"
    state = load_state(state_folder(states, 12))
    state.origin = state.origin | {"corpus": "another"}
    save_state(states, state)
    found = newest_state(states, origin=load_state(state_folder(states, 9)).origin)
    assert found.update == 9
    assert "made from another corpus" in caplog.text


def test_what_was_left_half_written_is_swept_away(small_config, at_update):
    config = small_config(*STAGE)
    at_update({8: die})
    with pytest.raises(Killed):
        run(config)
    stage = config.folder / "dense"
    for place in (stage, stage / "states"):
        (place / ".checkpoint.7.partial").mkdir()
        (place / ".file.7.partial").write_text("half")
    run(config)
    assert not list(stage.rglob(".*"))


def test_states_of_a_finished_stage_can_be_kept(small_config):
    config = small_config(*STAGE, "states.keep_finished=true", "callbacks.keep=average")
    stage = run(config)
    assert updates_on_disk(stage / "states") == [15, 18]
    assert not (stage / "states" / "averaged").exists()
    assert run(config) == stage


def test_a_damaged_state_is_passed_over_for_the_one_before(
    small_config, tmp_path, at_update, caplog
):
    whole = run(small_config(*STAGE))
    again = small_config(*STAGE, f"paths.runs={tmp_path}/again")
    at_update({14: die})
    with pytest.raises(Killed):
        run(again)
    states = again.folder / "dense" / "states"
    assert updates_on_disk(states) == [9, 12]
    file = state_folder(states, 12) / "state.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    # Damaged, it must not count as one of the newest.
    firsts = at_update({11: die})
    with pytest.raises(Killed):
        run(again)
    assert updates_on_disk(states) == [9]
    require_equal(whole, run(again))
    assert firsts == [10, 10]
    assert "the state after update 12 is passed over" in caplog.text


def test_where_all_states_are_damaged_the_stage_is_refused(small_config, at_update):
    config = small_config(*STAGE)
    at_update({14: die})
    with pytest.raises(Killed):
        run(config)
    for update in (9, 12):
        (state_folder(config.folder / "dense" / "states", update) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="none of the 2 states"):
        run(config)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), SafetensorError("No space left")])
def test_a_full_disk_costs_a_state_and_not_the_run(
    small_config, tmp_path, monkeypatch, caplog, error
):
    whole = run(small_config(*STAGE))
    again = small_config(*STAGE, f"paths.runs={tmp_path}/again")
    real = states_module.write_manifest

    def full(folder):
        if "000000006" in str(folder):
            raise error
        return real(folder)

    monkeypatch.setattr(states_module, "write_manifest", full)
    require_equal(whole, run(again))
    assert "the state after update 6 could not be written, training goes on" in caplog.text


def test_the_best_states_are_kept_beside_the_last(small_config, at_update):
    words = ("states.every=2", "states.keep_last=1", "states.keep_best=1")
    config = small_config(*STAGE, "schedule.dense.validate_every=4", *words)
    at_update({19: die})
    with pytest.raises(Killed):
        run(config)
    states = config.folder / "dense" / "states"
    *best, last = updates_on_disk(states)
    assert last == 18
    values = load_state(state_folder(states, last)).numbers["values"]
    assert best == [int(min(values, key=values.get))]


def test_a_state_holds_everything_and_nothing_executable(small_config, at_update):
    config = small_config(*STAGE)
    at_update({5: die})
    with pytest.raises(Killed):
        run(config)
    folder = state_folder(config.folder / "dense" / "states", 3)
    names = {path.name for path in folder.iterdir()}
    assert names == {"state.safetensors", "state.json", "metrics.csv", "manifest.json"}
    state = load_state(folder)
    assert state.update == 3
    assert state.position.done == 3
    moments = state.part("moments")
    assert {name.rpartition(":")[0] for name in moments} == set(state.part("model"))
    assert {name.rpartition(":")[2] for name in moments} == {"step", "exp_avg", "exp_avg_sq"}


def test_a_state_stays_as_it_was_taken_while_training_goes_on(small_config, monkeypatch):
    """It is written by a thread of its own."""
    taken = []
    monkeypatch.setattr(resuming_module, "save_state", lambda states, state: taken.append(state))
    words = ("callbacks.keep=average", "states.every=4", "schedule.dense.validate_every=4")
    run(small_config(*STAGE, *words))
    for state in taken:
        assert max(state.numbers["callbacks"]["keep"]["written"]) == state.update
        assert max(state.numbers["values"]) == state.update
