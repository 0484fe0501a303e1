"""A corpus made up in memory, of sentences as long as real ones, in as many directions as wanted.

For measuring where no text is at hand. Pieces are random numbers, which a training step's time does
not depend on; a target repeats the pieces of its source, so that a model can learn to end a
sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from nsmt.data.corpus import Corpus, TokenColumn, TokenTable
from nsmt.data.vocabulary import Vocabulary
from nsmt.languages import CATALOGUE, Direction, LanguageTable, both_ways

_HELD_OUT = 0.05
_PIVOT = "en"


class Numerals(Vocabulary):
    """A vocabulary whose text is the numerals of its pieces."""

    def __init__(self, size: int, languages: Sequence[str]) -> None:
        self._size = size
        self.tags = {code: row for row, code in enumerate(languages, start=4)}

    @property
    def size(self) -> int:
        """Number of ids, specials and tags included."""
        return self._size

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what it is made of."""
        return hashlib.sha256(f"{self._size} {self.tags}".encode()).hexdigest()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The numbers that the text names."""
        return [list(map(int, text.split())) for text in texts]

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Numerals; tags, <pad>, <s> and </s> are passed over."""
        silent = {self.pad, self.bos, self.eos, *self.tags.values()}
        return [
            " ".join(str(row) for row in map(int, ids) if row not in silent) for ids in sequences
        ]


class MadeUpCorpus(Corpus):
    """`sentences` of each direction, in `directions` from and into one language.

    `lengths` are pieces of source and target of real sentence pairs, which are drawn from. `pieces`
    are how many of the vocabulary's are used. What is drawn depends on these alone.
    """

    def __init__(
        self,
        lengths: Sequence[tuple[int, int]],
        *,
        vocabulary: int,
        directions: int,
        sentences: int,
        pieces: int | None = None,
    ) -> None:
        self._again = partial(
            MadeUpCorpus,
            lengths,
            vocabulary=vocabulary,
            directions=directions,
            sentences=sentences,
            pieces=pieces,
        )
        others = [code for code in CATALOGUE if code != _PIVOT][: directions // 2]
        self.folder = Path("made-up")
        self.name, self.pivot, self.licences = "made-up", _PIVOT, {}
        self.pairs = [Direction(_PIVOT, code) for code in others]
        self.directions = both_ways(self.pairs)
        self.languages = LanguageTable([_PIVOT, *others], {})
        self._drawn = np.asarray(lengths, dtype=np.int64)
        self._numerals = Numerals(vocabulary, [_PIVOT, *others])
        self._first = 4 + len(others) + 1
        self._pieces = min(pieces or vocabulary, vocabulary - self._first)
        self._sizes = {"train": sentences}
        self._sizes |= dict.fromkeys(("valid", "test"), max(1, round(sentences * _HELD_OUT)))
        self._made: dict[tuple[Direction, str], tuple[TokenColumn, TokenColumn]] = {}
        made_of = (self._numerals.fingerprint, directions, sentences, self._pieces)
        digest = hashlib.sha256(str(made_of).encode())
        digest.update(self._drawn.tobytes())
        self.fingerprint = digest.hexdigest()

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The numerals."""
        return self._numerals

    def table(self, direction: Direction, split: str) -> TokenTable:
        """The pieces of a direction; both of a pair have the same sentences."""
        pair = direction if direction in self.pairs else direction.reverse
        if (pair, split) not in self._made:
            self._made[pair, split] = self._make(pair, split)
        first, second = self._made[pair, split]
        return TokenTable(first, second) if pair == direction else TokenTable(second, first)

    def texts(self, direction: Direction, split: str) -> tuple[list[str], list[str]]:
        """Source and target sentences, as numerals."""
        table = self.table(direction, split)
        sources, targets = (
            self._numerals.decode([side[row].tolist() for row in range(len(side))])
            for side in (table.sources, table.targets)
        )
        return sources, targets

    def __reduce__(self) -> tuple[Any, ...]:
        # Not opened from a folder, as other corpora are.
        return self._again, ()

    def _make(self, pair: Direction, split: str) -> tuple[TokenColumn, TokenColumn]:
        rng = np.random.default_rng((self.pairs.index(pair), *split.encode()))
        drawn = self._drawn[rng.integers(len(self._drawn), size=self._sizes[split])].tolist()
        end = self._first + self._pieces
        sources = [rng.integers(self._first, end, size=length) for length, _ in drawn]
        targets = [
            np.resize(source, length) for source, (_, length) in zip(sources, drawn, strict=True)
        ]
        return _column(sources), _column(targets)


def _column(rows: list[np.ndarray]) -> TokenColumn:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    return TokenColumn(np.concatenate(rows).astype(np.uint32), offsets)
