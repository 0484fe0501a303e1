from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.sampling import draws, exact_counts, permuted, proportions

sizes = st.lists(st.integers(1, 10**9), min_size=1, max_size=40).map(np.array)
temperatures = st.sampled_from([0.5, 1.0, 1.5, 2.0, 5.0, 100.0])


@settings(max_examples=100, deadline=None)
@given(sizes, temperatures)
def test_shares_are_proportional_to_the_root_of_the_size(counts, temperature):
    share = proportions(counts, temperature=temperature)
    assert share.sum() == pytest.approx(1)
    for one in range(len(counts)):
        expected = (int(counts[one]) / int(counts[0])) ** (1 / temperature)
        assert share[one] / share[0] == pytest.approx(expected)


def test_temperature_one_follows_the_data_and_an_endless_one_is_uniform():
    counts = np.array([1, 10, 89])
    assert proportions(counts, temperature=1).tolist() == pytest.approx([0.01, 0.1, 0.89])
    assert proportions(counts, temperature=1e9).tolist() == pytest.approx([1 / 3] * 3)
    expected = np.array([1, 100 ** (1 / 5)])
    found = proportions(np.array([1, 100]), temperature=5)
    assert found.tolist() == pytest.approx((expected / expected.sum()).tolist())


@settings(max_examples=50, deadline=None)
@given(sizes, temperatures, temperatures)
def test_a_larger_temperature_is_flatter(counts, one, other):
    peaked, flat = (proportions(counts, temperature=t) for t in sorted((one, other)))
    assert flat.max() <= peaked.max() + 1e-12
    assert flat.min() >= peaked.min() - 1e-12


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="positive"):
        proportions(np.array([1, 2]), temperature=temperature)


def test_a_low_temperature_does_not_overflow():
    share = proportions(np.array([10**6, 10**7, 10**7]), temperature=0.01)
    assert share.tolist() == pytest.approx([0, 0.5, 0.5])


@settings(max_examples=150, deadline=None)
@given(sizes, temperatures, st.integers(0, 10**9))
def test_counts_sum_to_the_total_and_are_within_one_of_ideal(counts, temperature, total):
    share = proportions(counts, temperature=temperature)
    found = exact_counts(share, total)
    assert found.dtype == np.int64
    assert found.sum() == total
    assert (found >= 0).all()
    assert np.abs(found - share * total).max() < 1 + 1e-6


def test_what_is_left_goes_to_the_largest_remainders():
    assert exact_counts(np.array([0.25, 0.36, 0.39]), 10).tolist() == [2, 4, 4]
    assert exact_counts(np.array([0.5, 0.5]), 3).tolist() == [2, 1]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30), st.integers(0, 100), st.integers(0, 100), st.integers(0, 99))
def test_any_slice_of_the_stream_equals_that_part_of_the_whole(size, start, count, seed):
    whole = draws(size, 0, start + count, seed=(seed, 1))
    assert draws(size, start, count, seed=(seed, 1)).tolist() == whole[start:].tolist()


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 30),
    st.lists(st.integers(0, 50), min_size=1, max_size=6),
    st.integers(0, 99),
)
def test_every_row_comes_once_before_any_comes_twice(size, epochs, seed):
    stream, start = [], 0
    for count in epochs:
        stream.extend(draws(size, start, count, seed=(seed,)).tolist())
        start += count
        seen = Counter(stream)
        often = [seen[row] for row in range(size)]
        assert max(often) - min(often) <= 1
        assert sum(often) == len(stream) == start


def test_each_lap_and_each_seed_has_its_own_order():
    stream = draws(50, 0, 100, seed=(1,)).tolist()
    assert sorted(stream[:50]) == sorted(stream[50:]) == list(range(50))
    assert stream[:50] != stream[50:]
    assert stream != draws(50, 0, 100, seed=(2,)).tolist()
    assert stream == draws(50, 0, 100, seed=(1,)).tolist()


def test_no_draws_are_an_empty_array_of_rows():
    found = draws(5, 3, 0, seed=(1,))
    assert (found.shape, found.dtype) == ((0,), np.dtype(np.int64))


@given(st.integers(1, 3000), st.integers(0, 5))
def test_a_permutation_without_a_table_sends_every_row_somewhere_else(size, seed):
    whole = permuted(np.arange(size), size, seed=(seed,))
    assert sorted(whole.tolist()) == list(range(size))
    part = np.arange(size // 3, size // 2)
    assert permuted(part, size, seed=(seed,)).tolist() == whole[part].tolist()
