"""Rank correlation and Mantel's test against definitions written out."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.probing.ranks import average_ranks, mantel, rank_test, spearman

values = st.lists(st.integers(-3, 3), min_size=2, max_size=12)


@given(values)
def test_a_rank_is_the_mean_place_among_equals(numbers):
    for number, rank in zip(numbers, average_ranks(numbers), strict=True):
        below = sum(other < number for other in numbers)
        equal = sum(other == number for other in numbers)
        assert rank == pytest.approx(below + (equal + 1) / 2)


@given(values, st.randoms())
def test_without_ties_rho_is_the_formula_of_squared_differences(numbers, shuffler):
    count = len(numbers)
    left = list(range(count))
    right = shuffler.sample(left, count)
    squares = sum((a - b) ** 2 for a, b in zip(left, right, strict=True))
    assert spearman(left, right) == pytest.approx(1 - 6 * squares / (count * (count**2 - 1)))


@given(values)
def test_rho_with_itself_is_one_and_does_not_see_monotone_changes(numbers):
    if len(set(numbers)) == 1:
        assert spearman(numbers, numbers) is None
    else:
        assert spearman(numbers, [math.exp(each) for each in numbers]) == pytest.approx(1)
        assert spearman(numbers, [-each for each in numbers]) == pytest.approx(-1)


def symmetric(count, seed):
    made = np.random.default_rng(seed).random((count, count)).round(1)
    return np.triu(made, 1) + np.triu(made, 1).T


def by_hand(left, right):
    """Rho of every relabelling, by the definition."""
    count = len(left)
    pairs = list(itertools.combinations(range(count), 2))
    found = []
    for order in itertools.permutations(range(count)):
        one = average_ranks([left[i, j] for i, j in pairs])
        other = average_ranks([right[order[i], order[j]] for i, j in pairs])
        found.append(np.corrcoef(one, other)[0, 1])
    return found[0], sum(each >= found[0] - 1e-9 for each in found) / len(found)


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 5), st.integers(0, 1000))
def test_the_exact_test_tries_every_relabelling(count, seed):
    left, right = symmetric(count, seed), symmetric(count, seed + 1).round(0)
    found = mantel(left, right, permutations=1000, seed=0)
    if found.correlation is None:
        above = np.triu_indices(count, 1)
        assert 1 in {len(set(left[above])), len(set(right[above]))}
        return
    rho, p = by_hand(left, right)
    assert found.exact
    assert found.permutations == math.factorial(count)
    assert (found.correlation, found.p) == (pytest.approx(rho), pytest.approx(p))


def test_drawn_permutations_come_near_the_exact_test():
    left, right = symmetric(6, 3), symmetric(6, 4)
    exact = mantel(left, right, permutations=719, seed=0)
    drawn = mantel(left, right, permutations=718, seed=1)
    assert (exact.exact, drawn.exact) == (True, False)
    assert drawn.correlation == exact.correlation
    assert drawn.p == pytest.approx(exact.p, abs=0.06)
    assert drawn == mantel(left, right, permutations=718, seed=1)


def test_the_names_of_languages_do_not_matter():
    left, right = symmetric(5, 3), symmetric(5, 4)
    order = np.array([3, 0, 4, 1, 2])
    again = mantel(left[order][:, order], right[order][:, order], permutations=999, seed=0)
    first = mantel(left, right, permutations=999, seed=0)
    assert again.correlation == pytest.approx(first.correlation)
    assert again.p == first.p


def test_families_that_do_not_differ_are_not_tested():
    found = mantel(symmetric(4, 0), np.ones((4, 4)), permutations=99, seed=0)
    assert (found.correlation, found.p) == (None, None)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_two_numbers_of_each_language_are_tested_by_every_relabelling(count, seed):
    generator = np.random.default_rng(seed)
    left, right = generator.integers(0, 4, count), generator.random(count)
    found = rank_test(left, right, permutations=719, seed=0)
    if len(set(left)) == 1:
        assert (found.correlation, found.p) == (None, None)
        return
    tried = [spearman(left, np.array(order)) for order in itertools.permutations(right)]
    far = sum(abs(each) >= abs(tried[0]) - 1e-9 for each in tried)
    assert found.exact
    assert found.permutations == math.factorial(count)
    assert (found.correlation, found.p) == (
        pytest.approx(tried[0]),
        pytest.approx(far / len(tried)),
    )


def test_more_languages_than_can_be_permuted_are_drawn():
    left, right = np.arange(9), np.arange(9)[::-1]
    found = rank_test(left, right, permutations=500, seed=0)
    assert (found.correlation, found.exact, found.permutations) == (pytest.approx(-1), False, 500)
    assert found.p == pytest.approx(1 / 501, abs=2e-3)
