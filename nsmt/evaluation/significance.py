"""Paired bootstrap resampling of BLEU, chrF++ and likelihood (Koehn 2004), in numpy.

All three metrics are functions of sums over sentences, so a resampled test set is a vector of
sentence multiplicities and resampling is one matrix product; systems that share the vector are
paired by construction. The resamples are those that sacreBLEU draws from the same seed.

The p-value is two-sided, from the differences shifted to the null hypothesis: the share of
resamples in which |d - mean(d)| reaches the difference observed. It agrees with the interval
printed beside it, percentiles of the resamples, but at the edge, where they lean to one side or
their mean is not the difference observed. sacreBLEU's own paired test takes absolute values
before it centres, which is one-sided in all but name: it calls a true null significant at 0.05 in
about one case of ten, and gives identical systems the smallest p there is.

Shapes: S resamples, N sentences, K sufficient statistics of a metric.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.base import Metric

from nsmt.errors import DataError
from nsmt.evaluation.scoring import (
    BLEU_KEY,
    CHRF_KEY,
    DEFAULT_TOKENIZER,
    check_parallel,
    metrics,
)

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

NLL_KEY: Final = "nll"
OFF_TARGET_KEY: Final = "off-target"
COMET_KEY: Final = "comet"
CONFIDENCE: Final = 0.95
SIGNIFICANCE_LEVEL: Final = 0.05
_NGRAM_ORDER: Final = 4
_CHRF_BETA_SQUARED: Final = 4.0
_BLOCK: Final = 250  # resamples at a time: a block for 2,000 sentences is 4 MB


@dataclass(frozen=True, eq=False, slots=True)
class SentenceStatistics:
    """What a metric needs to know of each sentence; the corpus score is a function of the sums."""

    metric: str
    values_NK: Floats

    @property
    def sentences(self) -> int:
        """How many sentences there are."""
        return int(self.values_NK.shape[0])

    def corpus_value(self) -> float:
        """The score of the whole test set, as the metric itself gives it."""
        return float(self.values_of(self.values_NK.sum(axis=0, keepdims=True))[0])

    def values_of(self, sums_SK: Floats) -> Floats:
        """The scores [S] of test sets whose summed statistics are given."""
        return _FORMULAS[self.metric](sums_SK)


@dataclass(frozen=True, slots=True)
class Difference:
    """System minus baseline, with its 95 % interval and two-sided p-value."""

    value: float
    low: float
    high: float
    p: float

    @property
    def smallest_visible_difference(self) -> float:
        """Half of the interval: a true difference as large is seen here about half of the time."""
        return (self.high - self.low) / 2

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05, with no correction for other comparisons."""
        return self.p < SIGNIFICANCE_LEVEL


def text_statistics(
    hypotheses: Mapping[Key, Sequence[str]],
    references: Sequence[str],
    *,
    tokenizer: str = DEFAULT_TOKENIZER,
) -> dict[Key, dict[str, SentenceStatistics]]:
    """BLEU and chrF++ statistics of several systems' outputs; references are counted once."""
    for lines in hypotheses.values():
        check_parallel(lines, references)
    measured = metrics(references, tokenizer=tokenizer)
    return {
        system: {
            key: SentenceStatistics(key, _sacrebleu_statistics(metric, lines))
            for key, metric in measured.items()
        }
        for system, lines in hypotheses.items()
    }


def likelihood_statistics(nll_N: npt.ArrayLike, tokens_N: npt.ArrayLike) -> SentenceStatistics:
    """Statistics of the negative log-likelihood per target token, from sums per sentence."""
    values_NK = np.stack([np.asarray(nll_N, float), np.asarray(tokens_N, float)], axis=1)
    return SentenceStatistics(NLL_KEY, values_NK)


@dataclass(frozen=True, eq=False, slots=True)
class Units:
    """What is drawn where test sets overlap: of `number` meanings, sentence n says `of_N[n]`."""

    number: int
    of_N: npt.NDArray[np.integer]


def units_of(meanings: Mapping[Key, Sequence[str]]) -> dict[Key, Units]:
    """The meanings of all test sets numbered together, in order of first appearance."""
    rows: dict[str, int] = {}
    places = {
        key: np.array([rows.setdefault(meaning, len(rows)) for meaning in of_set], dtype=np.int64)
        for key, of_set in meanings.items()
    }
    return {key: Units(len(rows), of_N) for key, of_N in places.items()}


def share_statistics(is_so_N: npt.ArrayLike, *, metric: str) -> SentenceStatistics:
    """Statistics of the percentage of sentences of which something is so, from booleans."""
    is_so_N = np.asarray(is_so_N, float)
    return SentenceStatistics(metric, np.stack([is_so_N, np.ones_like(is_so_N)], axis=1))


def resample(
    statistics: Mapping[Key, SentenceStatistics],
    *,
    samples: int,
    seed: int,
    stream: str = "",
    units: Units | None = None,
) -> dict[Key, Floats]:
    """The scores [S] of each entry on the same `samples` resampled test sets.

    `stream` names an independent stream of resamples, so that the intervals of a direction do not
    depend on which other directions were evaluated. With `units`, meanings are drawn instead of
    sentences: directions whose test sets overlap vary together where they do. A resample that holds
    nothing of a test set (of n sentences, about one in e^n) has it as it is. Raises DataError if
    entries differ in length.
    """
    sizes = {entry.sentences for entry in statistics.values()}
    if len(sizes) != 1:
        raise DataError(
            f"cannot pair test sets of {', '.join(map(str, sorted(sizes))) or 'no'} sentences",
            fix="compare outputs for one and the same test set",
        )
    parts: dict[Key, list[Floats]] = {key: [] for key in statistics}
    number = sizes.pop() if units is None else units.number
    for drawn_SU in _multiplicities(number, samples=samples, seed=seed, stream=stream):
        weights_SN = drawn_SU if units is None else drawn_SU[:, units.of_N]
        weights_SN[weights_SN.sum(axis=1) == 0] = 1
        for key, entry in statistics.items():
            parts[key].append(entry.values_of(weights_SN @ entry.values_NK))
    return {key: np.concatenate(blocks) for key, blocks in parts.items()}


def summarise(observed: float, resampled_S: Floats) -> Difference:
    """Interval and p-value of an observed difference, from the same difference on resamples."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(resampled_S, [tail, 1 - tail])
    return Difference(observed, float(low), float(high), p_value(observed, resampled_S))


def p_value(observed: float, resampled_S: Floats) -> float:
    """Two-sided p of the null hypothesis that the difference is zero; 1 for identical systems."""
    extreme = np.abs(resampled_S - resampled_S.mean()) >= abs(observed)
    return float((extreme.sum() + 1) / (len(resampled_S) + 1))


def _sacrebleu_statistics(metric: Metric, hypotheses: Sequence[str]) -> Floats:
    """The one place that reaches into sacreBLEU; parity with `corpus_score` is tested."""
    return np.asarray(metric._extract_corpus_statistics(hypotheses, None), float)


def _multiplicities(sentences: int, *, samples: int, seed: int, stream: str) -> Iterator[Floats]:
    """Blocks [S, N] of how often each sentence is drawn into each resampled test set."""
    entropy = [seed, zlib.crc32(stream.encode())] if stream else [seed]
    generator = np.random.default_rng(entropy)
    for start in range(0, samples, _BLOCK):
        rows = min(_BLOCK, samples - start)
        drawn = generator.integers(0, sentences, size=(rows, sentences))
        flat = drawn + np.arange(rows)[:, None] * sentences
        counts = np.bincount(flat.ravel(), minlength=rows * sentences)
        yield counts.reshape(rows, sentences).astype(np.float64)


def _bleu(sums_SK: Floats) -> Floats:
    """BLEU with exponential smoothing from [hyp_len, ref_len, correct_1..4, total_1..4]."""
    hyp_S, ref_S = sums_SK[:, 0], sums_SK[:, 1]
    correct = sums_SK[:, 2 : 2 + _NGRAM_ORDER]
    total = sums_SK[:, 2 + _NGRAM_ORDER :]
    missed = np.logical_and(correct == 0, total > 0)
    smoothed = np.where(missed, 0.5 ** np.cumsum(missed, axis=1), correct)
    scorable_S = np.logical_and(np.all(total > 0, axis=1), np.any(correct > 0, axis=1))
    precision = 100 * smoothed / np.maximum(total, 1)
    geometric_S = np.exp(np.log(np.where(scorable_S[:, None], precision, 1)).mean(axis=1))
    brevity_S = np.exp(np.minimum(0, 1 - ref_S / np.maximum(hyp_S, 1)))
    return np.where(scorable_S, brevity_S * geometric_S, 0.0)


def _chrf(sums_SK: Floats) -> Floats:
    """chrF++ (effective order, beta 2) from [hyp, ref, match] of each n-gram order."""
    hyp, ref, match = (sums_SK[:, offset::3] for offset in range(3))
    counted = np.logical_and(hyp > 0, ref > 0)
    orders_S = np.maximum(counted.sum(axis=1), 1)
    precision_S = np.where(counted, match / np.maximum(hyp, 1), 0.0).sum(axis=1) / orders_S
    recall_S = np.where(counted, match / np.maximum(ref, 1), 0.0).sum(axis=1) / orders_S
    weighted_S = _CHRF_BETA_SQUARED * precision_S + recall_S
    product_S = (1 + _CHRF_BETA_SQUARED) * precision_S * recall_S
    return np.asarray(100 * product_S / np.where(weighted_S > 0, weighted_S, 1), np.float64)


def _mean(sums_SK: Floats) -> Floats:
    return np.asarray(sums_SK[:, 0] / sums_SK[:, 1], np.float64)


def _percentage(sums_SK: Floats) -> Floats:
    return np.asarray(100 * sums_SK[:, 0] / sums_SK[:, 1], np.float64)


_FORMULAS: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    BLEU_KEY: _bleu,
    CHRF_KEY: _chrf,
    NLL_KEY: _mean,
    OFF_TARGET_KEY: _percentage,
    COMET_KEY: _mean,
}
