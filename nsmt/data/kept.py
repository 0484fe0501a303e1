"""Which cleaned rows are kept: no repeated pair, no surplus of valid and test, no held-out text.

These passes see all blocks of a pair, but only their hashes. Repeated pairs are found a bucket of
hashes at a time, so that memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from nsmt.data.blocks import CleanedPair, columns
from nsmt.data.settings import SplitSettings
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


def hold_out(
    cleaned: CleanedPair, held_out: HeldOut, settings: SplitSettings, tally: Tally
) -> None:
    """Remember the text of valid and test, and drop what is more of it than was asked for.

    Sets that the source gave are left as they are. Of the others the sentences of lowest hash stay;
    the rest is dropped, and never trained on.
    """
    limits = {"valid": settings.max_valid, "test": settings.max_test}
    for split, limit in limits.items():
        numbers, places, sources, targets = [], [], [], []
        for first, block, kept in _with_offsets(cleaned):
            of_split, place, source, target = columns(
                block, "split", "place", "source_key", "target_key"
            )
            here = kept & (of_split == SPLITS.index(split))
            sources.append(source[here])
            targets.append(target[here])
            numbers.append(first + np.flatnonzero(here))
            places.append(place[here])
        if not numbers:
            continue
        # Once a pair and split: each time sorts all keys of a language.
        held_out.add(cleaned.pair, np.concatenate(sources), np.concatenate(targets))
        if limit is not None and split not in cleaned.given:
            number, place = np.concatenate(numbers), np.concatenate(places)
            surplus = np.lexsort((number, place))[limit:]
            _drop(cleaned, np.sort(number[surplus]), "held_out_surplus", tally)


def drop_held_out(cleaned: CleanedPair, held_out: HeldOut, tally: Tally) -> None:
    """Drop every row of train that valid or test of any pair covers."""
    for _, block, kept in _with_offsets(cleaned):
        split, source, target = columns(block, "split", "source_key", "target_key")
        covered = kept & (split == SPLITS.index("train"))
        covered &= held_out.covers(cleaned.pair, source, target)
        kept[covered] = False
        tally.drop(cleaned.pair, "train", "held_out", number=int(covered.sum()))


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
