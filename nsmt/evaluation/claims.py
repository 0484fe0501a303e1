"""Verdicts on differences, by both ends of an interval: what is shown, refuted, or neither.

A claim that an interval does not decide is undecided; that no difference was seen is no proof that
there is none. Whether a method is at most so much worse is decided by a margin: it holds if the
whole 95 % interval is above it, which is a one-sided test at 2.5 %.
"""

from __future__ import annotations

from typing import Final, Literal

from nsmt.evaluation.scoring import BLEU_KEY, CHRF_KEY
from nsmt.evaluation.significance import COMET_KEY, NLL_KEY, OFF_TARGET_KEY, Difference

Verdict = Literal["holds", "does not hold", "undecided"]
# What a method may lose against continue-dense, in the unit of the metric.
MARGINS: Final = {BLEU_KEY: 0.5}
# With two, an interval misses the truth in one or two of ten cases (nsmt/evaluation/seeds.py).
LEAST_SEEDS: Final = 3
LOWER_IS_BETTER: Final = frozenset({NLL_KEY, OFF_TARGET_KEY})
_KNOWN: Final = frozenset({BLEU_KEY, CHRF_KEY, COMET_KEY}) | LOWER_IS_BETTER


def is_better(found: Difference | None, metric: str) -> Verdict:
    """Whether a system is better than what it was compared with."""
    return _above(found, metric, 0.0)


def is_not_worse(found: Difference | None, metric: str, *, by: float) -> Verdict:
    """Whether it is worse by no more than a margin."""
    return _above(found, metric, -by)


def _above(found: Difference | None, metric: str, bar: float) -> Verdict:
    if metric not in _KNOWN:
        raise ValueError(f"nobody said which {metric} is better")
    if found is None:
        return "undecided"
    low, high = found.low, found.high
    if metric in LOWER_IS_BETTER:
        low, high = -high, -low
    if low > bar:
        return "holds"
    return "does not hold" if high < bar else "undecided"
