"""Rank correlation with ties, and its permutation test over the objects behind a distance matrix.

Pairs of languages are not independent: a language is in n-1 of them. Mantel's test (1967) permutes
languages, rows and columns together, and so asks how often languages that were dealt to the
families at random would agree as well.

Shape suffixes: L languages, P pairs of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Correlations that differ by less are equal, but for rounding.
_TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Mantel:
    """A rank correlation with its one-sided p: how often one so high comes by chance.

    `exact` says that all permutations were tried. Both numbers are None where one side is constant.
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
    """Spearman's rho, the correlation of average ranks; None where one side is constant."""
    return _pearson(average_ranks(left_P), average_ranks(right_P))


def mantel(left_LL: Floats, right_LL: Floats, *, permutations: int, seed: int) -> Mantel:
    """Spearman's rho of two symmetric matrices above their diagonals, tested against chance.

    All permutations of the languages are tried if they are no more than `permutations` and the
    identity; otherwise so many are drawn, and the observed order counts as one more.
    """
    count = len(left_LL)
    rows, columns = np.triu_indices(count, 1)
    left_P = average_ranks(left_LL[rows, columns])
    ranks_LL = np.zeros_like(right_LL)
    ranks_LL[rows, columns] = average_ranks(right_LL[rows, columns])
    ranks_LL += ranks_LL.T
    observed = _pearson(left_P, ranks_LL[rows, columns])
    exact = math.factorial(count) <= permutations + 1
    if observed is None:
        return Mantel(None, None, 0, exact)
    orders = _all_orders(count) if exact else _drawn_orders(count, permutations, seed)
    tried = reached = 0
    for order in orders:
        found = _pearson(left_P, ranks_LL[order[rows], order[columns]])
        reached += found is not None and found >= observed - _TOLERANCE
        tried += 1
    p = reached / tried if exact else (reached + 1) / (tried + 1)
    return Mantel(observed, p, tried, exact)


def _all_orders(count: int) -> Iterator[npt.NDArray[np.intp]]:
    return (np.array(order) for order in itertools.permutations(range(count)))


def _drawn_orders(count: int, number: int, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    generator = np.random.default_rng(seed)
    return (generator.permutation(count) for _ in range(number))


def _pearson(left_P: Floats, right_P: Floats) -> float | None:
    left, right = left_P - left_P.mean(), right_P - right_P.mean()
    scale = math.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / scale if scale > 0 else None
