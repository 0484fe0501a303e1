"""Rank correlation with ties, and its permutation tests over languages.

Pairs of languages are not independent: a language is in n-1 of them. Mantel's test (1967) permutes
languages, rows and columns together, and so asks how often languages that were dealt to the
families at random would agree as well.

Shape suffixes: L languages, P pairs of them, R orders of languages.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Orders = npt.NDArray[np.intp]
# Correlations that differ by less are equal, but for rounding.
_TOLERANCE = 1e-12
# Orders that are tried at once.
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """A rank correlation, and how often one so high, or so far from 0, comes by chance.

    `exact` says that all permutations were tried. Both numbers are None where one side is constant
    or empty.
    """

    correlation: float | None
    p: float | None
    permutations: int
    exact: bool


def average_ranks(values_P: npt.ArrayLike) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    values = np.asarray(values_P, float)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[inverse]
    return ranks


def spearman(left_P: npt.ArrayLike, right_P: npt.ArrayLike) -> float | None:
    """Spearman's rho, the correlation of average ranks; None if one side is constant or empty."""
    return _pearson(average_ranks(left_P), average_ranks(right_P))


def mantel(left_LL: Floats, right_LL: Floats, *, permutations: int, seed: int) -> PermutationTest:
    """Spearman's rho of two symmetric matrices above their diagonals, tested against chance.

    One-sided: how often a rho so high. All permutations of the languages are tried if they are no
    more than `permutations` and the identity; otherwise so many are drawn, and the observed order
    counts as one more.
    """
    count = len(left_LL)
    rows, columns = np.triu_indices(count, 1)
    left_P = average_ranks(left_LL[rows, columns])
    ranks_LL = np.zeros_like(right_LL, dtype=float)
    ranks_LL[rows, columns] = average_ranks(right_LL[rows, columns])
    ranks_LL += ranks_LL.T

    def reordered(orders_RL: Orders) -> Floats:
        found_RP: Floats = ranks_LL[orders_RL[:, rows], orders_RL[:, columns]]
        return found_RP

    return _tested(left_P, reordered, count, permutations=permutations, seed=seed, sided=1)


def rank_test(
    left_L: npt.ArrayLike, right_L: npt.ArrayLike, *, permutations: int, seed: int
) -> PermutationTest:
    """Spearman's rho of two numbers of each language; two-sided, otherwise as `mantel`."""
    ranks_L = average_ranks(right_L)

    def reordered(orders_RL: Orders) -> Floats:
        found_RL: Floats = ranks_L[orders_RL]
        return found_RL

    left = average_ranks(left_L)
    return _tested(left, reordered, len(left), permutations=permutations, seed=seed, sided=2)


def _tested(
    left_P: Floats,
    reordered: Callable[[Orders], Floats],
    count: int,
    *,
    permutations: int,
    seed: int,
    sided: Literal[1, 2],
) -> PermutationTest:
    """`reordered` gives the right side, [R, P], under R orders of the languages, [R, L]."""
    exact = math.factorial(count) <= permutations + 1
    observed = _pearson(left_P, reordered(np.arange(count)[None])[0])
    if observed is None:
        return PermutationTest(None, None, 0, exact)
    orders = _all_orders(count) if exact else _drawn_orders(count, permutations, seed)
    left = left_P - left_P.mean()
    bar = (observed if sided == 1 else abs(observed)) - _TOLERANCE
    tried = reached = 0
    while some := list(itertools.islice(orders, _AT_ONCE)):
        right_RP = reordered(np.array(some))
        right_RP = right_RP - right_RP.mean(1, keepdims=True)
        # An order changes neither mean nor spread.
        scale = math.sqrt(float(left @ left) * float(right_RP[0] @ right_RP[0]))
        found_R = right_RP @ left / scale
        reached += int(((found_R if sided == 1 else np.abs(found_R)) >= bar).sum())
        tried += len(some)
    p = reached / tried if exact else (reached + 1) / (tried + 1)
    return PermutationTest(observed, p, tried, exact)


def _all_orders(count: int) -> Iterator[tuple[int, ...]]:
    return itertools.permutations(range(count))


def _drawn_orders(count: int, number: int, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    generator = np.random.default_rng(seed)
    return (generator.permutation(count) for _ in range(number))


def _pearson(left_P: Floats, right_P: Floats) -> float | None:
    if not len(left_P):
        return None
    left, right = left_P - left_P.mean(), right_P - right_P.mean()
    scale = math.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / scale if scale > 0 else None
