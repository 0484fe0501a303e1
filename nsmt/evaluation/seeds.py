"""Differences over training runs that share their seeds: means, intervals, and an exact test.

Two settings trained with the same seed start from the same weights and see the same sentences, so
their difference is taken seed by seed. A t-test over seeds alone takes the test set as given; the
bootstrap over sentences takes the trained models as given. Given the scores of every seed on the
same resamples, an interval has both: the error is the root of s^2/n, the variance of n seeds' mean,
plus the variance over resamples of the mean of all seeds. What seeds and sentences do together is
then counted twice, which errs on the wide side. Degrees of freedom are those of Satterthwaite
(1946), with infinitely many for the sentences, rounded down. With three seeds that holds the truth
about as often as it says; with two that agree by chance it does not, in one or two of ten cases.

Resampling seeds would be worse: a bootstrap of three sees two thirds of their variance. The t-test
assumes that differences are normal; it is all that has power with three to five seeds. With two, s
rests on one number: then it is pooled over rows (`pooled`), as if all had the same variance.

The sign-flip test assumes only that differences are symmetric about 0 under the null hypothesis,
and enumerates every flip: with n seeds its p is never below 2 / 2^n, so it takes six seeds for
p < 0.05.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev, variance
from typing import Final

import numpy as np

from nsmt.evaluation.significance import CONFIDENCE, Difference, Floats

# Beyond, 2^n flips take long, and the t-test is as good.
_MOST_SEEDS: Final = 16
# From here on Student's t is the normal distribution to three digits.
_MOST_FREEDOM: Final = 1000
# Two differences to one control, all of the same variance, have half of it in common.
_SHARED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Spread:
    """The mean over seeds, and the deviation of the sample; None where there is one seed."""

    mean: float
    deviation: float | None
    seeds: int


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """The mean difference over seeds: tested where the variance over seeds is known.

    `sentences` says whether the interval has the variance over test sentences, too.
    """

    value: float
    tested: Difference | None
    exact_p: float | None
    seeds: int
    sentences: bool = False


@dataclass(frozen=True, slots=True)
class Pooled:
    """A variance over seeds, with the degrees of freedom of its estimate."""

    variance: float
    freedom: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and deviation of at least one value."""
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def pooled(conditions: Iterable[Sequence[Sequence[float]]]) -> Pooled | None:
    """The variance over seeds of all rows; None where no row has two seeds.

    A condition has rows of differences, one a seed, to a control that they share. Rows with one
    control err together: of k of them, with correlations of 1/2, the estimate has the degrees of
    freedom of k / (1 + (k - 1) / 4).
    """
    squares, whole, doubled = 0.0, 0, 0.0
    for rows in conditions:
        known = [row for row in rows if len(row) > 1]
        freedom = sum(len(row) - 1 for row in known)
        squares += sum((len(row) - 1) * variance(row) for row in known)
        whole += freedom
        doubled += freedom * (1 + (len(known) - 1) * _SHARED**2)
    return Pooled(squares / whole, whole**2 / doubled) if whole else None


def seed_difference(
    differences: Sequence[float],
    *,
    resampled: Sequence[Floats] = (),
    pool: Pooled | None = None,
) -> SeedDifference:
    """The mean of differences, one a seed, with interval and two-sided p by Student's t.

    `resampled` are the same differences on resamples [S] that all seeds share; without them the
    test set is taken as given. `pool` replaces the variance of these differences alone.
    """
    count, mean = len(differences), fmean(differences)
    if count == 1 and pool is None:
        return SeedDifference(mean, None, None, 1)
    pool = pool or Pooled(variance(differences), count - 1)
    of_seeds = pool.variance / count
    of_sentences = float(np.var(np.mean(resampled, axis=0), ddof=1)) if len(resampled) else 0.0
    whole = of_seeds + of_sentences
    freedom = _freedom(whole, of_seeds, pool.freedom)
    error = math.sqrt(whole)
    half = t_quantile(CONFIDENCE, freedom) * error
    distance = abs(mean) / error if error > 0 else math.inf if mean else 0.0
    tested = Difference(mean, mean - half, mean + half, 1 - t_within(distance, freedom))
    exact = sign_flip_p(differences) if 1 < count <= _MOST_SEEDS else None
    return SeedDifference(mean, tested, exact, count, sentences=len(resampled) > 0)


def _freedom(whole: float, of_seeds: float, freedom: float) -> int:
    """Satterthwaite's degrees of freedom of a variance of which a part is estimated from few."""
    if of_seeds > 0:
        freedom *= (whole / of_seeds) ** 2
    elif whole > 0:
        freedom = _MOST_FREEDOM
    return max(1, min(_MOST_FREEDOM, math.floor(freedom + 1e-9)))


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


@cache
def t_quantile(probability: float, freedom: int) -> float:
    """The t whose interval [-t, t] has that probability, by bisection."""
    low, high = 0.0, 1.0
    while t_within(high, freedom) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if t_within(middle, freedom) < probability else (low, middle)
    return (low + high) / 2
