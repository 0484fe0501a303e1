"""The tests over seeds give what the tables of statistics say."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsmt.evaluation.seeds import (
    Pooled,
    pooled,
    seed_difference,
    sign_flip_p,
    spread,
    t_quantile,
    t_within,
)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)],
)
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert t_quantile(0.95, freedom) == pytest.approx(quantile, abs=1e-4)
    assert t_within(quantile, freedom) == pytest.approx(0.95, abs=1e-6)


def test_many_degrees_of_freedom_approach_the_normal_distribution():
    assert t_within(1.96, 2000) == pytest.approx(math.erf(1.96 / math.sqrt(2)), abs=1e-3)


def test_the_t_test_is_that_of_a_worked_example():
    # Student's (1908) extra hours of sleep: t = -4.0621 with 9 degrees of freedom, p = 0.002833.
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = seed_difference([a - b for a, b in zip(first, second, strict=True)])
    assert found.tested.p == pytest.approx(0.002833, abs=1e-6)
    assert found.tested.low == pytest.approx(-2.4598858, abs=1e-6)
    assert found.tested.high == pytest.approx(-0.7001142, abs=1e-6)


def test_the_exact_test_counts_flips():
    assert sign_flip_p([1.0, 2.0, 3.0]) == 2 / 8
    assert sign_flip_p([1.0, -1.0]) == 1.0
    assert sign_flip_p([1.0] * 6) == 2 / 64


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_the_exact_p_is_bounded_and_blind_to_the_sign(differences):
    p = sign_flip_p(differences)
    assert 2 / 2 ** len(differences) <= p <= 1
    assert p == sign_flip_p([-d for d in differences])


def test_one_seed_has_neither_deviation_nor_test():
    assert spread([3.0]).deviation is None
    assert seed_difference([0.5]).tested is None


def test_equal_differences_are_certain_and_none_is_nothing():
    assert seed_difference([1.0, 1.0]).tested.p == 0.0
    assert seed_difference([0.0, 0.0]).tested.p == 1.0


def test_a_true_null_is_called_significant_in_one_case_of_twenty():
    rng = np.random.default_rng(0)
    found = [seed_difference(list(rng.normal(size=5))).tested.significant for _ in range(4000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.012)


def test_the_interval_has_the_variance_of_seeds_and_of_sentences():
    # Two resamples of which the mean over seeds is -0.3 and 0.3: variance 0.18.
    resampled = [np.array([-0.2, 0.2]), np.array([-0.4, 0.4])]
    found = seed_difference([1.0, 1.4], resampled=resampled)
    of_seeds, of_sentences = 0.08 / 2, 0.18
    freedom = (of_seeds + of_sentences) ** 2 / of_seeds**2
    half = t_quantile(0.95, math.floor(freedom)) * math.sqrt(of_seeds + of_sentences)
    assert found.sentences
    assert (found.tested.low, found.tested.high) == pytest.approx((1.2 - half, 1.2 + half))
    alone = seed_difference([1.0, 1.4])
    assert not alone.sentences
    assert alone.tested.high == pytest.approx(1.2 + 12.7062 * 0.2, abs=1e-3)


def test_seeds_that_agree_leave_the_variance_of_sentences():
    resampled = [np.random.default_rng(0).normal(0, 0.1, 4000)] * 3
    found = seed_difference([0.5, 0.5, 0.5], resampled=resampled)
    assert found.tested.smallest_visible_difference == pytest.approx(0.196, abs=0.01)


def test_rows_that_share_a_control_pool_to_fewer_degrees_of_freedom():
    row = [1.0, 1.2]
    assert pooled([[row]]).variance == pytest.approx(0.02)
    assert pooled([[row], [row], [[1.0]]]).freedom == pytest.approx(2)
    assert pooled([[row] * 6]).freedom == pytest.approx(6 / 2.25)
    assert pooled([[[1.0]], []]) is None


def test_one_seed_is_tested_by_the_variance_of_other_rows():
    found = seed_difference([1.0], pool=Pooled(0.04, 4))
    assert found.tested.high == pytest.approx(1 + 2.77645 * 0.2, abs=1e-4)
    assert found.exact_p is None


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.82), (3, 0.92)])
@pytest.mark.parametrize("of_sentences", [0.2, 1.0, 3.0])
def test_intervals_of_three_seeds_hold_the_truth_as_often_as_they_say(seeds, least, of_sentences):
    """Sentences that all seeds share, seeds, and what both do together: the truth is 0."""
    rng, hits, trials, sentences = np.random.default_rng(1), 0, 400, 40
    weights = rng.multinomial(sentences, [1 / sentences] * sentences, size=100) / sentences
    for _ in range(trials):
        shared = rng.normal(0, of_sentences, sentences)
        own = rng.normal(0, 0.3, seeds)[:, None] + rng.normal(0, 0.5, (seeds, sentences))
        scores = shared + own
        found = seed_difference(list(scores.mean(1)), resampled=list(scores @ weights.T))
        hits += found.tested.low <= 0 <= found.tested.high
    assert hits / trials > least
