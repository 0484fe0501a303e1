"""How often each direction is drawn: temperature sampling with exact proportions.

p_d ∝ n_d^(1/T), as in the papers: T = 1 follows the data, a larger T is flatter. (fairseq and
others use the word for the inverse; docs/pitfalls of the field, row 16.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

_ROUNDS: Final = 6


def proportions(
    sizes: np.ndarray, *, temperature: float, weights: np.ndarray | None = None
) -> np.ndarray:
    """The share of each direction, float64, summing to one; `sizes` must be positive.

    `weights` multiply the shares: 2 samples a direction twice as often as it would be.
    """
    if temperature <= 0:
        raise ValueError("temperature must be positive")
    # Relative to the largest, so that no power of a size overflows, however small T is.
    weight = np.power(np.asarray(sizes, dtype=np.float64) / np.max(sizes), 1 / temperature)
    weight = weight if weights is None else weight * weights
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


def permuted(rows: np.ndarray, size: int, *, seed: tuple[int, ...]) -> np.ndarray:
    """Where a pseudo-random permutation of `range(size)` sends `rows`; int64.

    A Feistel network over the next power of four, walked until it lands inside: no table, so the
    cost is that of the rows asked for, whatever the size.
    """
    half = np.uint64(max(1, ((size - 1).bit_length() + 1) // 2))
    keys = np.random.SeedSequence(seed).generate_state(_ROUNDS, np.uint64)
    found = _feistel(np.asarray(rows, dtype=np.uint64), half, keys)
    while len(outside := np.flatnonzero(found >= size)):
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(rows: np.ndarray, half: np.uint64, keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << half) - np.uint64(1)
    left, right = rows >> half, rows & mask
    for key in keys:
        left, right = right, left ^ (mixed(right ^ key) & mask)
    return (left << half) | right


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit of the number (splitmix64's finaliser)."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _pieces(size: int, start: int, count: int, seed: tuple[int, ...]) -> Iterator[np.ndarray]:
    end = start + count
    while start < end:
        lap, offset = divmod(start, size)
        taken = min(size - offset, end - start)
        yield permuted(np.arange(offset, offset + taken), size, seed=(*seed, lap))
        start += taken
