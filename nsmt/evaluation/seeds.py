"""Differences over training runs that share their seeds: the paired t-test, and an exact test.

Two settings trained with the same seed start from the same weights and see the same sentences, so
their difference is taken seed by seed. The t-test assumes that the differences are normal; it is
all that has power with three to five seeds. The sign-flip test assumes only that they are symmetric
about 0 under the null hypothesis, and enumerates every flip: with n seeds its p is never below
2 / 2^n, so it takes six seeds for p < 0.05.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

from nsmt.evaluation.significance import CONFIDENCE, Difference

# Beyond, 2^n flips take long, and the t-test is as good.
_MOST_SEEDS: Final = 16


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean over seeds, and the deviation of the sample; None where there is one seed."""

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """The mean difference over seeds: tested where there are several."""

    value: float
    tested: Difference | None
    exact_p: float | None
    seeds: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation of at least one value."""
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def seed_difference(differences: Sequence[float]) -> SeedDifference:
    """The mean of differences, one a seed; its interval and p are those of the paired t-test."""
    count, mean = len(differences), fmean(differences)
    if count == 1:
        return SeedDifference(mean, None, None, 1)
    error = stdev(differences) / math.sqrt(count)
    half = t_quantile(CONFIDENCE, count - 1) * error
    distance = abs(mean) / error if error > 0 else math.inf if mean else 0.0
    p = 1 - t_within(distance, count - 1)
    exact = sign_flip_p(differences) if count <= _MOST_SEEDS else None
    return SeedDifference(mean, Difference(mean, mean - half, mean + half, p), exact, count)


def sign_flip_p(differences: Sequence[float]) -> float:
    """The share of all sign flips whose mean is as far from 0 as the one observed; two-sided."""
    observed = abs(math.fsum(differences))
    # Sums that are equal on paper differ in their last bits.
    tolerance = 1e-12 * math.fsum(map(abs, differences))
    flips = itertools.product((1, -1), repeat=len(differences))
    sums = [
        abs(math.fsum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in flips
    ]
    return sum(each >= observed - tolerance for each in sums) / len(sums)


def t_within(t: float, freedom: int) -> float:
    """The probability that Student's t lies in [-t, t] (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    if freedom == 1:
        return 2 * angle / math.pi
    odd = freedom % 2
    # Each term is the one before times cos^2, and a ratio of neighbouring numbers.
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for number in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (number - 1) / number
        total += term
    if odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total


def t_quantile(probability: float, freedom: int) -> float:
    """The t whose interval [-t, t] has that probability, by bisection."""
    low, high = 0.0, 1.0
    while t_within(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, freedom) < probability else (low, middle)
    return (low + high) / 2
