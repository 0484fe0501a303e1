"""Which sentences share a micro-batch, so that few slots stay empty.

Padded: sentences of similar length, cut where rows x longest side reaches the limit. Packed: every
batch has the same number of slots on each side, and its sentences are chosen so that both fill up;
lengths are mixed, so all batches cost the same. Lengths count the tag and </s>.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

Batches = list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Room:
    """Slots of a packed batch on either side.

    No sentence is longer than `bound`, which kernels for attention must know: one for all batches,
    as a compiler takes another for another program. None: each batch has its own.
    """

    source: int
    target: int
    bound: int | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """Slots of the source side and of the target side."""
        return self.source, self.target

    @classmethod
    def of(
        cls, tokens: int, *, source_share: float, target_share: float, bound: int | None = None
    ) -> Room:
        """`tokens` for the side that has more of them, in proportion for the other."""
        larger = max(source_share, target_share)
        source, target = (round(tokens * each / larger) for each in (source_share, target_share))
        return cls(source, target, bound)


def bound_of(longest: int) -> int:
    """A bound for sentences of so many tokens at most: the next power of two."""
    return 1 << (longest - 1).bit_length()


def padded(source: np.ndarray, target: np.ndarray, *, limit: int, tie_break: np.ndarray) -> Batches:
    """Cut sentences, sorted by length, into batches of rows x longest side <= `limit`.

    Equal sentences come in the order of `tie_break`. A sentence longer than the limit forms a batch
    of its own. Arrays of positions in `source`, every position once.
    """
    order = np.lexsort((tie_break, *_sort_keys(source, target)))
    cuts = _cut(np.maximum(source, target)[order], limit=limit)
    return [order[start:end] for start, end in itertools.pairwise(cuts)]


def packed(source: np.ndarray, target: np.ndarray, *, room: Room, multiple: int = 1) -> Batches:
    """Deal sentences out to batches within `room`, about as few as can hold them.

    Their number is a multiple, unless sentences are fewer. Arrays of positions in `source`, every
    position once; no batch is empty. Sentences longer than the room are a ValueError.
    """
    if len(source) and (source.max() > room.source or target.max() > room.target):
        raise ValueError("a sentence is longer than a packed batch")
    if not len(source):
        return []
    count = max(-(-int(source.sum()) // room.source), -(-int(target.sum()) // room.target))
    while True:
        count += -count % multiple if len(source) >= count + -count % multiple else 0
        batch = _deal(source, target, room, count)
        needed = _repair(batch, source, target, room, count)
        if needed == count or multiple == 1:
            break
        count = needed
    count = needed
    order = np.argsort(batch, kind="stable")
    return np.split(order, np.searchsorted(batch[order], np.arange(1, count)))


def split_to_multiple(batches: Batches, multiple: int) -> Batches:
    """Halve the batches of most sentences until the number of batches is a multiple.

    Returns the batches as they are if there are too few sentences for that.
    """
    missing = -len(batches) % multiple
    if not missing or sum(map(len, batches)) < len(batches) + missing:
        return batches
    found = list(batches)
    while missing:
        largest = sorted(range(len(found)), key=lambda place: -len(found[place]))
        for place in largest[: min(missing, len(found))]:
            if len(found[place]) > 1:
                half = len(found[place]) // 2
                found.append(found[place][half:])
                found[place] = found[place][:half]
                missing -= 1
    return found


def _sort_keys(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
    """The last key is the first to sort by, as `np.lexsort` has it."""
    # By the longer side first, as the limit counts it: fewer batches than by one side first.
    return target, np.maximum(source, target)


def _cut(longest: np.ndarray, *, limit: int) -> list[int]:
    """Where to cut sorted sentences; no sentences make no batch, not an empty one."""
    cuts, most = [0], 0
    for place, length in enumerate(longest.tolist()):
        most = max(most, length)
        if most * (place - cuts[-1] + 1) > limit and place > cuts[-1]:
            cuts.append(place)
            most = length
    return [*cuts, len(longest)] if len(longest) else cuts


def _deal(source: np.ndarray, target: np.ndarray, room: Room, count: int) -> np.ndarray:
    """A batch for each sentence, so that totals and sides are even; some may be over the room.

    The longest are dealt first. Each round gives every batch one sentence: now the longer to the
    emptier batch, now those with more source than target to where target is ahead.
    """
    filled, ahead = np.zeros(count), np.zeros(count)
    size = source / room.source + target / room.target
    lean = source / room.source - target / room.target
    order = np.argsort(-size, kind="stable")
    found = np.empty(len(source), dtype=np.int64)
    for turn, start in enumerate(range(0, len(order), count)):
        rows = order[start : start + count]
        if turn % 2:
            places = np.argsort(ahead, kind="stable")[: len(rows)]
            rows = rows[np.argsort(-lean[rows], kind="stable")]
        else:
            places = np.argsort(filled, kind="stable")[: len(rows)]
        found[rows] = places
        filled[places] += size[rows]
        ahead[places] += lean[rows]
    return found


def _repair(
    batch: np.ndarray, source: np.ndarray, target: np.ndarray, room: Room, count: int
) -> int:
    """Move the shortest sentences of batches over the room to where they fit best, in place.

    Where nothing has room, batches are added. Returns the number of batches.
    """
    full = np.array([[room.source], [room.target]])
    lengths = np.stack([source, target])
    taken = [np.bincount(batch, weights=side, minlength=count) for side in lengths]
    free = full - np.stack(taken).astype(np.int64)
    # By share of the room, as `_deal` measures sentences.
    size = (lengths / full).sum(axis=0)
    by_batch = np.lexsort((size, batch))
    starts = np.searchsorted(batch[by_batch], np.arange(count))
    moved: list[int] = []
    for place in np.flatnonzero((free < 0).any(axis=0)).tolist():
        shortest_first = iter(by_batch[starts[place] :].tolist())
        while (free[:, place] < 0).any():
            moved.append(next(shortest_first))
            free[:, place] += lengths[:, moved[-1]]
    for row in sorted(moved, key=lambda row: -size[row]):
        fits = np.flatnonzero((free >= lengths[:, [row]]).all(axis=0))
        if not len(fits):
            fits = np.array([free.shape[1]])
            free = np.hstack([free, full])
        batch[row] = fits[free[:, fits].sum(axis=0).argmin()]
        free[:, batch[row]] -= lengths[:, row]
    return int(free.shape[1])
