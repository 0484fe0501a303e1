"""Which cleaned rows are kept: no repeated pair, no held-out text, no surplus of any split.

These passes see all blocks of a pair, but only their hashes. Repeated pairs are found a bucket of
hashes at a time, so that memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from nsmt.data.blocks import CleanedPair, columns
from nsmt.data.settings import CorpusSettings
from nsmt.data.split import SPLITS, HeldOut
from nsmt.data.tally import Tally

# Rows whose hashes are compared at once: 24 bytes each.
_BUCKET_ROWS: Final = 1_000_000


def drop_repeated(cleaned: CleanedPair, tally: Tally) -> None:
    """Keep the first of equal pairs, among the rows that were dealt from the source's train."""
    rows = sum(len(kept) for kept, dealt in zip(cleaned.kept, cleaned.dealt, strict=True) if dealt)
    buckets = max(1, -(-rows // _BUCKET_ROWS))
    for bucket in range(buckets):
        marks, numbers = _marks(cleaned, bucket, buckets)
        order = np.argsort(marks, kind="stable")
        again = order[1:][marks[order[1:]] == marks[order[:-1]]]
        _drop(cleaned, np.sort(numbers[again]), "duplicate", tally)


def separate(pairs: Sequence[CleanedPair], settings: CorpusSettings, tally: Tally) -> None:
    """Leave no sentence of test in valid, and none of either in train, of any pair.

    Sets that the source gave stay as they are: what a valid and a test that were both given share
    is counted. Of a set that was cut from train the sentences of lowest hash stay, as many as were
    asked for; the rest is dropped, and never trained on. So it is with the train of a limited pair,
    last of all: limits move no held-out text, and a smaller one's sentences are a larger one's too.
    """
    given_valid, test, valid = (HeldOut(settings.pivot) for _ in range(3))
    for cleaned in pairs:
        if "valid" in cleaned.given:
            _remember(cleaned, "valid", given_valid)
    for cleaned in pairs:
        if "test" not in cleaned.given:
            _drop_covered(cleaned, "test", given_valid, "in_valid", tally)
        _remember(cleaned, "test", test)
        if "test" not in cleaned.given:
            _drop_surplus(cleaned, "test", settings.split.max_test, "held_out_surplus", tally)
    for cleaned in pairs:
        if "valid" in cleaned.given:
            shared = sum(
                int(_covered(cleaned, part, test).sum()) for part in _parts(cleaned, "valid")
            )
            tally.share(cleaned.pair, "valid", number=shared)
        else:
            _drop_covered(cleaned, "valid", test, "in_test", tally)
        _remember(cleaned, "valid", valid)
        if "valid" not in cleaned.given:
            _drop_surplus(cleaned, "valid", settings.split.max_valid, "held_out_surplus", tally)
    for cleaned in pairs:
        for held_out in (test, valid):
            _drop_covered(cleaned, "train", held_out, "held_out", tally)
        limit = settings.train_limits.get(cleaned.pair)
        _drop_surplus(cleaned, "train", limit, "train_surplus", tally)


class _Part(NamedTuple):
    """The rows of a split in one block: the number of the block's first row, and which they are."""

    first: int
    block: Path
    kept: np.ndarray
    rows: np.ndarray


def _parts(cleaned: CleanedPair, split: str) -> Iterator[_Part]:
    """What is kept of a split, block by block."""
    for first, block, kept in _with_offsets(cleaned):
        (split_of,) = columns(block, "split")
        yield _Part(first, block, kept, kept & (split_of == SPLITS.index(split)))


def _remember(cleaned: CleanedPair, split: str, held_out: HeldOut) -> None:
    keys = [
        [column[part.rows] for column in columns(part.block, "source_key", "target_key")]
        for part in _parts(cleaned, split)
    ]
    if keys:
        # Once a pair and split: each time sorts all keys of a language.
        held_out.add(cleaned.pair, *(np.concatenate(side) for side in zip(*keys, strict=True)))


def _drop_surplus(
    cleaned: CleanedPair, split: str, limit: int | None, reason: str, tally: Tally
) -> None:
    """Keep the rows of lowest hash, as many as the limit says; of equal ones the first."""
    if limit is None:
        return
    numbers, places = [np.empty(0, np.int64)], [np.empty(0)]
    for part in _parts(cleaned, split):
        numbers.append(part.first + np.flatnonzero(part.rows))
        places.append(columns(part.block, "place")[0][part.rows])
    number, place = np.concatenate(numbers), np.concatenate(places)
    surplus = np.lexsort((number, place))[limit:]
    _drop(cleaned, np.sort(number[surplus]), reason, tally)


def _drop_covered(
    cleaned: CleanedPair, split: str, held_out: HeldOut, reason: str, tally: Tally
) -> None:
    for part in _parts(cleaned, split):
        covered = _covered(cleaned, part, held_out)
        part.kept[covered] = False
        tally.drop(cleaned.pair, split, reason, number=int(covered.sum()))


def _covered(cleaned: CleanedPair, part: _Part, held_out: HeldOut) -> np.ndarray:
    keys = columns(part.block, "source_key", "target_key")
    covered: np.ndarray = part.rows & held_out.covers(cleaned.pair, *keys)
    return covered


def _marks(cleaned: CleanedPair, bucket: int, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of a bucket and the numbers of their rows, in order."""
    marks, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
    offsets = _with_offsets(cleaned)
    for (first, block, kept), dealt in zip(offsets, cleaned.dealt, strict=True):
        if dealt:
            (mark,) = columns(block, "mark")
            here = kept & (mark % np.uint64(buckets) == bucket)
            marks.append(mark[here])
            numbers.append(first + np.flatnonzero(here))
    return np.concatenate(marks), np.concatenate(numbers)


def _with_offsets(cleaned: CleanedPair) -> Iterator[tuple[int, Path, np.ndarray]]:
    """Each block with the number of its first row."""
    first = 0
    for block, kept in zip(cleaned.blocks, cleaned.kept, strict=True):
        yield first, block, kept
        first += len(kept)


def _drop(cleaned: CleanedPair, numbers: np.ndarray, reason: str, tally: Tally) -> None:
    """Mark rows, given by sorted numbers, as dropped and count them by split."""
    for first, block, kept in _with_offsets(cleaned):
        start, end = np.searchsorted(numbers, [first, first + len(kept)])
        if start == end:
            continue
        rows = numbers[start:end] - first
        kept[rows] = False
        (split,) = columns(block, "split")
        for place, count in enumerate(np.bincount(split[rows], minlength=len(SPLITS))):
            tally.drop(cleaned.pair, SPLITS[place], reason, number=int(count))
