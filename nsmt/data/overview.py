"""What a prepared corpus holds, in numbers: sizes, tokens a word, lengths, overlap, sampling, fill.

Everything is found in the pieces, chunk by chunk, so that a corpus of any size can be looked at.
Tokens are pieces without tags and </s>; words are pieces that begin one, so that in scripts
without spaces a "word" is a stretch between spaces.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np

from nsmt.data.corpus import Corpus, TokenColumn, TokenTable
from nsmt.data.plan import FRAME, BatchSettings, Mix, PlannedBatch
from nsmt.data.sampling import mixed, proportions
from nsmt.data.settings import MixSettings
from nsmt.data.split import SPLITS
from nsmt.languages import Direction

_CHUNK: Final = 100_000
# Lower ends of the bins of the length histogram.
LENGTH_BINS: Final = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 250)
LAYOUTS: Final[tuple[Literal["padded"], Literal["packed"]]] = ("padded", "packed")
_WORD_START: Final = "\u2581"


@dataclass(frozen=True, slots=True)
class LanguageOverview:
    """One language's side of the training text of all its pairs."""

    sentences: int
    tokens: int
    words: int
    unknown: int
    lengths: np.ndarray  # sentences in each of LENGTH_BINS


@dataclass(frozen=True, slots=True)
class Overview:
    """The numbers of a corpus."""

    sentences: Mapping[Direction, Mapping[str, int]]
    languages: Mapping[str, LanguageOverview]
    # By language and, as in "valid in train", splits: how many distinct sentences the other split
    # has too, piece for piece, and how many there are.
    overlap: Mapping[str, Mapping[str, tuple[int, int]]]


def overview(corpus: Corpus) -> Overview:
    """Count everything but what depends on training settings."""
    sentences = {
        pair: {split: len(corpus.table(pair, split)) for split in SPLITS} for pair in corpus.pairs
    }
    found = {code: _language(corpus, code) for code in corpus.languages}
    overlap = {code: _overlap(corpus, code) for code in corpus.languages}
    return Overview(sentences, found, overlap)


def sampling(corpus: Corpus, temperature: float) -> dict[Direction, tuple[float, float]]:
    """The share of each direction at a temperature, and how often an epoch repeats its text."""
    sizes = np.array([len(corpus.table(d, "train")) for d in corpus.directions])
    share = proportions(sizes, temperature=temperature)
    return {
        direction: (float(part), float(part * sizes.sum() / size))
        for direction, part, size in zip(corpus.directions, share, sizes, strict=True)
    }


def fill(corpus: Corpus, *, tokens: int, temperature: float) -> dict[str, float]:
    """The share of slots that hold a token in the first window that training plans, by layout.

    A layout whose batches are too small for the longest sentence is left out.
    """
    tables = {direction: corpus.table(direction, "train") for direction in corpus.directions}
    found: dict[str, float] = {}
    for layout in LAYOUTS:
        batch = BatchSettings(layout=layout, tokens=tokens)
        mix = Mix(tables, MixSettings(), batch=batch, temperature=temperature, seed=(0, 0))
        longest = [int(lengths.max()) for lengths in mix.drawn(0, 0)[2:]]
        if mix.room is None or all(map(operator.le, longest, mix.room.sizes)):
            planned = [each for batches, _ in mix.window(0, 0) for each in batches]
            found[layout] = filled(planned, list(tables.values()))
    return found


def filled(planned: Sequence[PlannedBatch], tables: Sequence[TokenTable]) -> float:
    """The share of slots that hold a token once the batches are read, over all of them."""
    direction = np.concatenate([each.direction for each in planned])
    row = np.concatenate([each.row for each in planned])
    counts = np.array([len(each.row) for each in planned])
    tokens = slots = 0
    for side in range(2):
        lengths = np.empty(len(row), dtype=np.int64)
        for place, table in enumerate(tables):
            here = direction == place
            lengths[here] = (table.sources, table.targets)[side].lengths(row[here]) + FRAME
        tokens += int(lengths.sum())
        longest = np.maximum.reduceat(lengths, np.cumsum(counts) - counts)
        slots += sum(map(partial(_slots, side), planned, longest.tolist()))
    return tokens / slots


def _slots(side: int, planned: PlannedBatch, longest: int) -> int:
    if planned.room is not None:
        return planned.room.sizes[side]
    return len(planned.row) * -(-longest // planned.round_to) * planned.round_to


def _language(corpus: Corpus, code: str) -> LanguageOverview:
    vocabulary = corpus.vocabulary
    begins = np.array(
        [vocabulary.piece(row).startswith(_WORD_START) for row in range(vocabulary.size)]
    )
    sentences = tokens = words = unknown = 0
    lengths = np.zeros(len(LENGTH_BINS), dtype=np.int64)
    for column in _columns(corpus, code, "train"):
        for ids, offsets in _chunks(column):
            sentences += len(offsets) - 1
            tokens += len(ids)
            words += int(begins[ids].sum())
            unknown += int((ids == vocabulary.unk).sum())
            places = np.searchsorted(LENGTH_BINS, np.diff(offsets), side="right") - 1
            lengths += np.bincount(places, minlength=len(LENGTH_BINS))
    return LanguageOverview(sentences, tokens, words, unknown, lengths)


def _overlap(corpus: Corpus, code: str) -> dict[str, tuple[int, int]]:
    """How many distinct held-out sentences another split has too, and how many there are."""
    held = {
        split: np.unique(np.concatenate([*_hashes(corpus, code, split), np.empty(0, np.uint64)]))
        for split in SPLITS[1:]
    }
    seen = {split: np.zeros(len(keys), dtype=bool) for split, keys in held.items()}
    for hashes in _hashes(corpus, code, "train"):
        for split, keys in held.items():
            seen[split] |= np.isin(keys, hashes)
    found = {f"{split} in train": (int(seen[split].sum()), len(held[split])) for split in held}
    tested = int(np.isin(held["valid"], held["test"]).sum())
    return found | {"valid in test": (tested, len(held["valid"]))}


def _hashes(corpus: Corpus, code: str, split: str) -> Iterator[np.ndarray]:
    """A 64-bit hash of the pieces of each sentence, chunk by chunk."""
    for column in _columns(corpus, code, split):
        for ids, offsets in _chunks(column):
            lengths = np.diff(offsets)
            place = np.arange(len(ids)) - np.repeat(offsets[:-1] - offsets[0], lengths)
            # Odd factors by position, so that the order of pieces counts.
            factor = mixed(place.astype(np.uint64)) | np.uint64(1)
            terms = mixed(ids.astype(np.uint64)) * factor
            ends = np.cumsum(np.concatenate([np.zeros(1, np.uint64), terms]))[offsets - offsets[0]]
            yield ends[1:] - ends[:-1]


def _columns(corpus: Corpus, code: str, split: str) -> Iterator[TokenColumn]:
    for pair in corpus.pairs:
        if code in (pair.source, pair.target):
            table = corpus.table(pair, split)
            yield table.sources if code == pair.source else table.targets


def _chunks(column: TokenColumn) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids and offsets of some sentences at a time."""
    for first in range(0, len(column), _CHUNK):
        offsets = np.asarray(column.offsets[first : first + _CHUNK + 1])
        yield np.asarray(column.values[offsets[0] : offsets[-1]]), offsets
