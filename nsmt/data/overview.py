"""What a prepared corpus holds, in numbers: sizes, tokens a word, lengths, overlap, sampling, fill.

Everything is found in the pieces, chunk by chunk, so that a corpus of any size can be looked at.
Tokens are pieces without tags and </s>; words are pieces that begin one, so that in scripts
without spaces a "word" is a stretch between spaces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from nsmt.data.corpus import Corpus, TokenColumn
from nsmt.data.packing import Room, packed, padded, padded_slots
from nsmt.data.plan import FRAME
from nsmt.data.sampling import proportions
from nsmt.data.split import SPLITS
from nsmt.languages import Direction

_CHUNK: Final = 100_000
# Lower ends of the bins of the length histogram.
LENGTH_BINS: Final = (0, 5, 10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 150, 200, 250)
_FILL_SENTENCES: Final = 1 << 17
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
    # By language and held-out split: sentences whose pieces are, exactly, a sentence of train.
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


def fill(corpus: Corpus, *, tokens: int, seed: int = 0) -> dict[str, float]:
    """The share of slots that hold a token, in padded and in packed batches of a sample."""
    rng = np.random.default_rng(seed)
    tables = [corpus.table(direction, "train") for direction in corpus.directions]
    sizes = np.array([len(table) for table in tables])
    wanted = np.minimum(sizes, np.ceil(sizes / sizes.sum() * _FILL_SENTENCES).astype(int))
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for table, count in zip(tables, wanted, strict=True):
        rows = np.sort(rng.choice(len(table), count, replace=False, shuffle=False))
        sides[0].append(table.sources.lengths(rows) + FRAME)
        sides[1].append(table.targets.lengths(rows) + FRAME)
    source, target = (np.concatenate(side) for side in sides)
    real = int(source.sum() + target.sum())
    batches = padded(source, target, limit=tokens, tie_break=rng.random(len(source)))
    found = {"padded": real / padded_slots(batches, source, target)}
    room = Room.of(tokens, source_share=source.mean(), target_share=target.mean())
    if max(source.max() - room.source, target.max() - room.target) <= 0:
        dealt = packed(source, target, room=room)
        found["packed"] = real / (len(dealt) * (room.source + room.target))
    return found


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
    """For valid and test: distinct sentences that train has too, and distinct sentences."""
    held = {
        split: np.unique(np.concatenate([*_hashes(corpus, code, split), np.empty(0, np.uint64)]))
        for split in SPLITS[1:]
    }
    seen = {split: np.zeros(len(keys), dtype=bool) for split, keys in held.items()}
    for hashes in _hashes(corpus, code, "train"):
        for split, keys in held.items():
            seen[split] |= np.isin(keys, hashes)
    return {split: (int(seen[split].sum()), len(keys)) for split, keys in held.items()}


def _hashes(corpus: Corpus, code: str, split: str) -> Iterator[np.ndarray]:
    """A 64-bit hash of the pieces of each sentence, chunk by chunk."""
    rng = np.random.default_rng(0)
    of_id = rng.integers(0, 1 << 63, corpus.vocabulary.size, dtype=np.uint64)
    # Odd factors by position, so that the order of pieces counts.
    of_place = rng.integers(0, 1 << 63, 1 << 16, dtype=np.uint64) | np.uint64(1)
    for column in _columns(corpus, code, split):
        for ids, offsets in _chunks(column):
            lengths = np.diff(offsets)
            place = np.arange(len(ids)) - np.repeat(offsets[:-1] - offsets[0], lengths)
            mixed = np.concatenate([np.zeros(1, np.uint64), of_id[ids] * of_place[place]])
            ends = np.cumsum(mixed)[offsets - offsets[0]]
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
