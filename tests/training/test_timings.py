"""What a run spent on its stages is added up over attempts."""

import json

import pytest

from nsmt.errors import DataError
from nsmt.training.timings import TIMINGS, recorded_seconds, timed


def test_attempts_are_added_and_failed_ones_count(tmp_path, monkeypatch):
    clock = iter([0.0, 5.0, 10.0, 12.5, 20.0, 21.0])
    monkeypatch.setattr("nsmt.training.timings.time.monotonic", lambda: next(clock))
    with pytest.raises(KeyError), timed(tmp_path, "dense"):
        raise KeyError
    with timed(tmp_path, "dense"):
        pass
    with timed(tmp_path, "identification"):
        pass
    assert recorded_seconds(tmp_path) == {"dense": 7.5, "identification": 1.0}


def test_nothing_recorded_is_nothing_and_damage_is_named(tmp_path):
    assert recorded_seconds(tmp_path) == {}
    for text in ("{", "[]", '{"schema": 2, "seconds": {}}', '{"schema": 1, "seconds": {"a": "b"}}'):
        (tmp_path / TIMINGS).write_text(text)
        with pytest.raises(DataError, match="is damaged"):
            recorded_seconds(tmp_path)


def test_a_run_records_its_stages_and_identification(finished_run):
    seconds = json.loads((finished_run / TIMINGS).read_text())["seconds"]
    assert set(seconds) == {
        *("dense", "identification", "continue_dense", "neuron_specialization"),
    }
    assert all(value > 0 for value in seconds.values())
