"""What the learning rate is at each update, as `optimizer.decay` describes it."""

from itertools import pairwise

import pytest

from nsmt.training.optimization import rate
from nsmt.training.settings import OptimizerSettings


@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_linear_decay_goes_down_by_the_same_to_zero_just_after_the_last_update(warmup):
    settings = OptimizerSettings(decay="linear", warmup_updates=warmup)
    factors = [rate(settings, updates=50)(update) for update in range(51)]
    # Updates from the peak on, which is at the end of warm-up.
    falling = factors[max(warmup - 1, 0) :]
    steps = [before - after for before, after in pairwise(falling)]
    assert falling[-2:] == pytest.approx([1 / (50 - warmup + 1), 0])
    assert steps == pytest.approx([1 / (50 - warmup + 1)] * len(steps))


def test_a_learning_rate_rises_to_its_peak_and_falls_with_the_root_of_the_update():
    settings = OptimizerSettings(warmup_updates=10)
    factor = rate(settings, updates=100)
    assert [factor(update) for update in (0, 4, 9, 39)] == pytest.approx([0.1, 0.5, 1, 0.5])
