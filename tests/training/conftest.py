"""What stages are made to do in their midst."""

import pytest

from nsmt.training import stages, throughput
from nsmt.training.module import TranslationModule


@pytest.fixture
def at_update(monkeypatch):
    """Do something in the forward pass of an update, the first time it comes.

    It gives the first update of each start: a stage that forgot its states and began again would
    end with the same weights.
    """
    real = TranslationModule.training_step

    def arrange(deeds):
        left, firsts, started = dict(deeds), [], []

        def step(module, batch, batch_idx):
            if module not in started:
                started.append(module)
                firsts.append(module.trainer.global_step + 1)
            deed = left.pop(module.trainer.global_step + 1, None)
            if deed is not None:
                deed()
            return real(module, batch, batch_idx)

        monkeypatch.setattr(TranslationModule, "training_step", step)
        return firsts

    return arrange


@pytest.fixture
def fitted(monkeypatch):
    """The settings and batches of every stage that is trained, by name."""
    seen, begun, real, made = {}, [], stages._fit, stages.TranslationData

    def fit(context, stage, *rest, **more):
        begun.append(stage)
        return real(context, stage, *rest, **more)

    def data(corpus, *, batch, **more):
        # Identification, too, has batches.
        if begun:
            stage = begun.pop()
            seen[stage.name] = stage.settings, batch
        return made(corpus, batch=batch, **more)

    monkeypatch.setattr(stages, "_fit", fit)
    monkeypatch.setattr(stages, "TranslationData", data)
    return seen


class Clock:
    """Seconds that pass in updates, and where a test says so: a busy machine changes nothing."""

    def __init__(self):
        self.seconds = 0.0

    def perf_counter(self):
        # No two looks see the same time.
        self.seconds += 1e-6
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch):
    """What throughput is measured by; a micro-batch takes a hundredth of a second."""
    clock, real = Clock(), TranslationModule.training_step

    def step(*given):
        clock.sleep(0.01)
        return real(*given)

    monkeypatch.setattr(throughput, "time", clock)
    monkeypatch.setattr(TranslationModule, "training_step", step)
    return clock
