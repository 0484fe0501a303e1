"""Updates that are no numbers, or far from the usual: skipped, named, and gone back over."""

import json

import pytest
from killed_stages import (
    STAGE,
    Killed,
    die,
    metrics,
    poison,
    require_equal,
    run,
    until_done,
    weights,
)

from nsmt.commands.launch import prepared_corpus
from nsmt.errors import TrainingError
from nsmt.training import going as going_module
from nsmt.training.module import TranslationModule


def trained_on(monkeypatch):
    """The updates of the plan, in the order in which they are computed."""
    taken = []
    real = TranslationModule.training_step

    def step(module, batch, batch_idx):
        if not taken or taken[-1] != batch.position.done + 1:
            taken.append(batch.position.done + 1)
        return real(module, batch, batch_idx)

    monkeypatch.setattr(TranslationModule, "training_step", step)
    return taken


def test_an_update_that_is_no_number_is_skipped_counted_and_named(
    small_config, monkeypatch, tmp_path
):
    poison(monkeypatch, {7})
    config = small_config(*STAGE)
    stage = run(config)
    assert all(tensor.isfinite().all() for tensor in weights(stage).values())
    assert metrics(stage)[-1]["train/skipped"] == "1"
    lines = [json.loads(line) for line in (stage / "unusual.jsonl").read_text().splitlines()]
    assert {(line["update"], line["why"]) for line in lines} == {(7, "not finite")}
    corpus = prepared_corpus(config)
    for line in lines:
        assert line["source"]
        assert line["direction"] in {str(direction) for direction in corpus.directions}


def test_an_update_that_comes_again_after_a_kill_is_named_once(
    small_config, tmp_path, monkeypatch, at_update
):
    at_update({9: die})
    poison(monkeypatch, {7})
    found, kills = until_done(small_config(*STAGE, f"paths.runs={tmp_path}/again"))
    assert kills == 1
    whole = run(small_config(*STAGE))
    assert (found / "unusual.jsonl").read_text() == (whole / "unusual.jsonl").read_text()


def test_a_run_of_bad_updates_goes_back_and_on_with_the_sentences_after_them(
    small_config, monkeypatch, caplog
):
    poison(monkeypatch, {7, 8, 9, 10, 11})
    taken = trained_on(monkeypatch)
    stage = run(small_config(*STAGE))
    # Back to the state after update 9, for 11 more updates, with what follows those of update 11.
    assert taken == [*range(1, 12), *range(12, 23)]
    assert "going back to the newest state" in caplog.text
    assert all(tensor.isfinite().all() for tensor in weights(stage).values())
    rows = [row for row in metrics(stage) if row["train/nll"]]
    assert [int(row["step"]) for row in rows] == list(range(2, 21, 2))


def test_updates_that_stay_bad_end_the_run_within_the_budget(small_config, monkeypatch):
    poison(monkeypatch, set(range(7, 1000)))
    with pytest.raises(TrainingError, match="went back 2 times"):
        run(small_config(*STAGE))


def test_the_budget_of_roll_backs_outlives_a_restart(small_config, monkeypatch):
    poison(monkeypatch, set(range(7, 1000)))
    config = small_config(*STAGE, "states.every=100")
    at = {"states": 0}
    real = going_module.Going.state

    def state(going):
        at["states"] += 1
        if at["states"] == 3:
            raise Killed
        return real(going)

    config = small_config(*STAGE)
    monkeypatch.setattr(going_module.Going, "state", state)
    with pytest.raises(Killed):
        run(config)
    # Two roll-backs were asked for, the second of them was not begun.
    with pytest.raises(TrainingError, match="went back 2 times"):
        run(config)
    assert at["states"] == 4


def test_a_run_killed_after_a_roll_back_ends_as_one_that_was_not(
    small_config, tmp_path, monkeypatch, at_update
):
    firsts = at_update({9: die, 14: die})
    poison(monkeypatch, {7, 8, 9, 10, 11})
    found, kills = until_done(small_config(*STAGE, f"paths.runs={tmp_path}/again"))
    assert kills == 2
    assert firsts == [1, 7, 10, 13]
    require_equal(run(small_config(*STAGE)), found)


def explode(monkeypatch, factors):
    """Losses that are many times what they should be."""
    real = TranslationModule.training_step

    def step(module, batch, batch_idx):
        return real(module, batch, batch_idx) * factors.get(batch.position.done + 1, 1.0)

    monkeypatch.setattr(TranslationModule, "training_step", step)


def test_spikes_are_named_and_explosions_skipped_too(small_config, monkeypatch):
    explode(monkeypatch, {25: 40.0, 30: 4000.0})
    stage = run(
        small_config(*STAGE, "schedule.dense.updates=36", "schedule.dense.validate_every=36")
    )
    assert metrics(stage)[-2]["train/skipped"] == "1"
    lines = [json.loads(line) for line in (stage / "unusual.jsonl").read_text().splitlines()]
    assert {(line["update"], line["why"]) for line in lines} == {(25, "spike"), (30, "explosion")}
    for line in lines:
        assert float(line["norm"]) > 10 * line["usual"]
