"""How often each direction is drawn: temperature sampling with exact proportions.

p_d ∝ n_d^(1/T), as in the papers: T = 1 follows the data, a larger T is flatter. (fairseq and
others use the word for the inverse; docs/pitfalls of the field, row 16.)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def proportions(sizes: np.ndarray, *, temperature: float) -> np.ndarray:
    """The share of each direction, float64, summing to one; `sizes` must be positive."""
    if temperature <= 0:
        raise ValueError("temperature must be positive")
    # Relative to the largest, so that no power of a size overflows, however small T is.
    weight = np.power(np.asarray(sizes, dtype=np.float64) / np.max(sizes), 1 / temperature)
    return np.asarray(weight / weight.sum())


def exact_counts(share: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers that sum to `total`, each within one of share x total (largest remainder)."""
    ideal = share * total
    counts = np.floor(ideal).astype(np.int64)
    short = total - int(counts.sum())
    by_remainder = np.argsort(counts - ideal, kind="stable")
    counts[by_remainder[:short]] += 1
    return np.asarray(counts)


def draws(size: int, start: int, count: int, *, seed: tuple[int, ...]) -> np.ndarray:
    """Rows `start` to `start + count` of an endless stream of permutations of `size` rows.

    Every row comes once before any comes twice, across epochs too, and any part of the stream can
    be had without the parts before it.
    """
    pieces = list(_pieces(size, start, count, seed))
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def _pieces(size: int, start: int, count: int, seed: tuple[int, ...]) -> Iterator[np.ndarray]:
    end = start + count
    while start < end:
        lap, offset = divmod(start, size)
        taken = min(size - offset, end - start)
        order = np.random.default_rng((*seed, lap)).permutation(size)
        yield order[offset : offset + taken]
        start += taken
