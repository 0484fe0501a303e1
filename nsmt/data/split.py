"""Which split a sentence belongs to, and which training text must therefore go.

Where the source gives no valid or test, the hash of the pivot side decides: a sentence of the
pivot language is in one and the same split for all its translations, so the held-out sets are
parallel over languages and no pivot text of valid or test is ever trained on. A pair without the
pivot is decided by its first language.

Held-out text is recognised in train, and test's in valid, whatever the source gave. A pair is
looked up by its pivot side; a pair without the pivot by both its sides, and it is looked for by
both.
"""

from __future__ import annotations

import hashlib

import numpy as np

from nsmt.data.settings import SplitSettings
from nsmt.data.text import recognition_key
from nsmt.languages import Direction

SPLITS = ("train", "valid", "test")


class HashSplit:
    """Deals sentences to test, valid and train by a hash of their text."""

    def __init__(self, settings: SplitSettings, *, given: tuple[str, ...] = ("train",)) -> None:
        """Splits that are `given` by the source get no share of what it calls train."""
        self._person = hashlib.blake2b(settings.seed_text.encode(), digest_size=32).digest()
        # Where a split begins does not depend on what is given: that differs between pairs, and
        # a sentence would be valid in one and test in another.
        self._ends = {"test": settings.test, "valid": settings.test + settings.valid}
        self._given = given

    def place(self, key: bytes) -> float:
        """A number in [0, 1), equal for texts with an equal recognition key."""
        digest = hashlib.blake2b(key, digest_size=7, key=self._person).digest()
        # 53 bits, the most that a float holds exactly.
        return (int.from_bytes(digest, "little") >> 3) / (1 << 53)

    def split(self, key: bytes) -> str:
        """The split: test takes the lowest hashes, valid the next."""
        place = self.place(key)
        split = next((split for split, end in self._ends.items() if place < end), "train")
        return "train" if split in self._given else split


def pair_keys(source: str, target: str) -> tuple[bytes, bytes]:
    """The recognition keys of both sides."""
    return recognition_key(source), recognition_key(target)


def deciding_side(pair: Direction, pivot: str) -> int:
    """Whose text decides the split: 0 for the source, 1 for the target language of the pair."""
    return 1 if pair.target == pivot else 0


class HeldOut:
    """The text of the valid or test sets of all pairs, to be kept out of other splits.

    Keys are the 64-bit numbers of blocks; those of a language are one sorted array.
    """

    def __init__(self, pivot: str) -> None:
        self._pivot = pivot
        # What a pair with the pivot is looked up in, and what a pair without it is.
        self._deciding: dict[str, np.ndarray] = {}
        self._any_side: dict[str, np.ndarray] = {}

    def add(self, pair: Direction, source_keys: np.ndarray, target_keys: np.ndarray) -> None:
        """Remember pairs of valid or test by the keys of both sides."""
        for language, keys in ((pair.source, source_keys), (pair.target, target_keys)):
            _merge(self._any_side, language, keys)
            if language == self._pivot or self._pivot not in (pair.source, pair.target):
                _merge(self._deciding, language, keys)

    def covers(
        self, pair: Direction, source_keys: np.ndarray, target_keys: np.ndarray
    ) -> np.ndarray:
        """Which pairs say what a held-out pair says: a bool array."""
        known = self._deciding if self._pivot in (pair.source, pair.target) else self._any_side
        covered = np.zeros(len(source_keys), dtype=bool)
        for language, keys in ((pair.source, source_keys), (pair.target, target_keys)):
            if (held := known.get(language)) is not None and len(held):
                place = np.minimum(np.searchsorted(held, keys), len(held) - 1)
                covered |= held[place] == keys
        return covered


def _merge(known: dict[str, np.ndarray], language: str, keys: np.ndarray) -> None:
    before = known.get(language, np.empty(0, dtype=np.uint64))
    known[language] = np.union1d(before, keys)
