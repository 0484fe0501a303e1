"""Corpus BLEU and chrF++ by sacreBLEU, each with the signature that makes it comparable.

The paper scores every language, Hindi and Amharic included, with sacreBLEU's default `13a`
tokeniser and with chrF++ (word order 2) on detokenised text (Neuron Specialization, section 4.3
and Table 11). A number without its signature means nothing, so none leaves this module without.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from nsmt.errors import ConfigurationError, DataError

BLEU_KEY: Final = "bleu"
CHRF_KEY: Final = "chrf++"
DEFAULT_TOKENIZER: Final = "13a"
_CHRF_WORD_ORDER: Final = 2


@dataclass(frozen=True, slots=True)
class Score:
    """A corpus score between 0 and 100 and the sacreBLEU signature it was computed under."""

    value: float
    signature: str


def score(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    tokenizer: str = DEFAULT_TOKENIZER,
) -> dict[str, Score]:
    """BLEU and chrF++ of detokenised `hypotheses` under the keys "bleu" and "chrf++".

    Raises DataError if there is nothing to score or the two differ in length.
    """
    check_parallel(hypotheses, references)
    return {
        key: Score(metric.corpus_score(hypotheses, [references]).score, signature_of(metric))
        for key, metric in metrics(tokenizer=tokenizer).items()
    }


def metrics(
    references: Sequence[str] | None = None, *, tokenizer: str = DEFAULT_TOKENIZER
) -> Mapping[str, Metric]:
    """The two sacreBLEU metrics; given references, their n-grams are counted once for all uses."""
    known = sorted(BLEU.TOKENIZERS)
    if tokenizer not in known:
        near = difflib.get_close_matches(tokenizer, known, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ConfigurationError(
            f"'{tokenizer}' is not a BLEU tokeniser of sacreBLEU",
            fix=f"{hint}use one of {', '.join(known)}",
        )
    cached = None if references is None else [list(references)]
    return {
        BLEU_KEY: BLEU(tokenize=tokenizer, references=cached),
        CHRF_KEY: CHRF(word_order=_CHRF_WORD_ORDER, references=cached),
    }


def signature_of(metric: Metric) -> str:
    """The signature of a metric with one reference, the only case that we score."""
    metric.num_refs = 1
    return str(metric.get_signature())


def check_parallel(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Raise DataError unless there is one reference a hypothesis, and at least one of each."""
    if len(hypotheses) != len(references):
        raise DataError(
            f"{len(hypotheses)} hypotheses but {len(references)} references",
            fix="score outputs against the test set that they translate, one line a sentence",
        )
    if not hypotheses:
        raise DataError("there are no sentences to score", fix="give a test set with sentences")
