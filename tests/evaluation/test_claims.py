"""Verdicts by both ends of an interval."""

import pytest

from nsmt.evaluation.claims import is_better, is_not_worse
from nsmt.evaluation.significance import Difference


def interval(low, high):
    return Difference((low + high) / 2, low, high, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "better", "not_worse"),
    [
        (0.1, 0.9, "holds", "holds"),
        (-0.4, 0.9, "undecided", "holds"),
        (-0.6, 0.9, "undecided", "undecided"),
        (-0.9, -0.1, "does not hold", "undecided"),
        (-0.4, -0.1, "does not hold", "holds"),
        (-0.9, -0.6, "does not hold", "does not hold"),
    ],
)
def test_a_claim_holds_where_the_whole_interval_is_on_its_side(low, high, better, not_worse):
    found = interval(low, high)
    assert is_better(found, "bleu") == better
    assert is_not_worse(found, "bleu", by=0.5) == not_worse
    mirrored = interval(-high, -low)
    assert is_better(mirrored, "nll") == better
    assert is_not_worse(mirrored, "nll", by=0.5) == not_worse


def test_without_an_interval_nothing_is_decided():
    assert is_better(None, "bleu") == "undecided"
    with pytest.raises(ValueError, match="accuracy"):
        is_better(None, "accuracy")
