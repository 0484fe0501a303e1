"""Claims about reports of language arithmetic: a score that is not there is no zero."""

from unittest.mock import MagicMock

import numpy as np

from nsmt.commands.arithmetic_report import Arithmetic
from nsmt.evaluation.arithmetic import Arm
from nsmt.evaluation.scoring import BLEU_KEY
from nsmt.evaluation.significance import summarise
from nsmt.reporting.arithmetic_tables import targets_table
from nsmt.reporting.tables import MISSING


def report_of(scores):
    """A report whose systems have these means, and resamples around them."""
    against, resamples = MagicMock(metrics=[BLEU_KEY]), MagicMock()
    against.system = lambda name: MagicMock(mean=lambda *_: scores[name])
    resamples.mean = lambda name, *_: None if scores[name] is None else scores[name] + np.zeros(9)
    return Arithmetic(
        plain="dense",
        arms=(Arm("add", "add", ()), Arm("add-random1", "add, random 1", (), 1, "add")),
        neurons={},
        sets=MagicMock(),
        measured=MagicMock(),
        against=against,
        resamples=resamples,
        corpus=MagicMock(),
        notes=(),
    )


def test_a_table_of_targets_shows_what_a_target_lacks_as_missing():
    found = summarise(1.0, np.linspace(0.5, 1.5, 9))
    table = targets_table(
        {"de": 2.0, "fr": None}, {"add": {"de": found}}, metric=BLEU_KEY, plain="dense"
    )
    assert table.rows[0] == ["dense", "2.00", MISSING]
    assert table.rows[1][1].startswith("+1.00")
    assert table.rows[1][2] == MISSING


def test_a_change_is_of_scores_that_both_sides_have():
    whole = report_of({"dense": 1.0, "add": 3.0, "add-random1": 2.0})
    change = whole.change(whole.arms[0], ())
    assert change.to_plain[BLEU_KEY].value == 2.0
    assert change.to_random[BLEU_KEY].value == 1.0
    lacking = report_of({"dense": None, "add": 3.0, "add-random1": 2.0})
    change = lacking.change(lacking.arms[0], ())
    assert change.to_plain == {}
    assert change.to_random[BLEU_KEY].value == 1.0
