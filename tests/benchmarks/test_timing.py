"""What contestants are measured against."""

import pytest
import torch

from nsmt.benchmarks.timing import MatrixProduct
from nsmt.training import throughput


def test_the_machine_at_its_best_is_what_training_logs_the_best_of_some_products(monkeypatch):
    """The first of a row finds cold caches: a share of its rate could be more than all of it."""
    took, clock = iter([4.0, 1.0, 3.0, 2.0] * 2), [0.0, False]

    def now():
        clock[1] = not clock[1]
        if not clock[1]:
            clock[0] += next(took)
        return clock[0]

    monkeypatch.setattr(throughput.time, "perf_counter", now)
    throughput.matrix_rate.cache_clear()
    expected = throughput.matrix_rate("cpu", torch.float32)
    throughput.matrix_rate.cache_clear()
    found = MatrixProduct("cpu", torch.float32)
    found()
    assert found.rates == [expected] == [pytest.approx(2 * throughput.matrix_side("cpu") ** 3)]


def test_a_stretch_within_a_tick_of_the_clock_still_has_a_speed(monkeypatch):
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: 1.0)
    watch = throughput.Stopwatch()
    watch.batch_came()
    seconds, waited = watch.lap()
    assert seconds > 0
    assert waited == 0
