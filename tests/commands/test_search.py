"""A search gets past trials that fail, and tries again what may go better."""

from dataclasses import dataclass, field

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from nsmt.commands import sweep_search
from nsmt.commands.sweep_search import search
from nsmt.commands.sweeps import Job

SPACE = "optimizer.learning_rate=interval(0.001,0.01)"


@dataclass
class Returned:
    return_value: object


@dataclass
class Launcher:
    """Jobs that end as they are told to, by the order in which they are launched."""

    ends: list[str]
    rates: list[str] = field(default_factory=list)

    def __call__(self, jobs, first):
        return [self._run(first + n, job) for n, job in enumerate(jobs)]

    def _run(self, number, job):
        self.rates.append(job["optimizer.learning_rate"])
        end = self.ends.pop(0) if self.ends else "finished"
        state, _, error = end.partition(" ")
        return Returned(Job(number, (), state, run=f"runs/{number}", error=error or None))


@pytest.fixture
def trials(tmp_path, monkeypatch):
    """Search in one study; the learning rates that were tried, in order."""
    monkeypatch.setattr(sweep_search, "objective", lambda run, **_: float(run.name))
    overrides = OverridesParser.create().parse_overrides([SPACE])

    def run(*ends, n_trials, **settings):
        launcher = Launcher(list(ends))
        search({"n_trials": n_trials, **settings}, overrides, launch=launcher, folder=tmp_path)
        return launcher.rates

    return run


def test_a_search_goes_on_after_its_first_failure(trials):
    rates = trials("failed", n_trials=3)
    assert len(set(rates)) == 4


def test_a_search_ends_after_some_failures_in_a_row(trials):
    rates = trials("failed", "failed", "finished", *["failed"] * 9, n_trials=9, patience=3)
    assert len(rates) == 6
    assert len(trials(*["failed"] * 9, n_trials=9, n_jobs=2, patience=3)) == 4


def test_a_failed_trial_is_tried_again_once_a_start_after_all_others(trials):
    first, _, _, second, third = trials(
        "failed", "finished", "finished", "failed", "failed", n_trials=4, patience=2
    )
    assert trials("failed", "failed", n_trials=4, patience=2) == [first, second]
    again = trials(n_trials=8)
    assert again[3:] == [first, second, third]
    assert len(set(again)) == 6


def test_what_was_stopped_comes_first_and_what_diverged_not_again(trials):
    rates = trials("failed TrainingError", "failed", "stopped", n_trials=3)
    assert len(rates) == 3
    diverged, failed, stopped = rates
    again = trials(n_trials=3)
    assert again[0] == stopped
    assert again[-1] == failed
    assert diverged not in again
    assert len(again) == 3


def test_a_result_that_is_no_number_is_not_asked_for_again(trials, monkeypatch):
    monkeypatch.setattr(sweep_search, "objective", lambda run, **_: float("nan"))
    rates = trials(n_trials=2, patience=2)
    monkeypatch.setattr(sweep_search, "objective", lambda run, **_: 1.0)
    assert not set(rates) & set(trials(n_trials=2))
