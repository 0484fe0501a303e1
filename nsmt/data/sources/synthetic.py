"""Made-up languages that say the same things, for tests and first steps without a download.

A sentence is a sequence of meanings, drawn with Zipf's frequencies. A language spells each
meaning by one word: half of the words are its own, half are shared by its family, and all end in
the language's suffix. The family orders the words: as meant, in reverse, or with neighbours
swapped. So a tiny model learns to translate, and languages of one family are alike.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.languages import Direction, Language
from nsmt.settings import Count

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_SHARED_SHARE = 0.5


class SyntheticSettings(CorpusSettings):
    """Made-up languages derived from shared meanings; learnable by a tiny model in seconds."""

    source: Literal["synthetic"]
    name: CorpusName = "synthetic"
    sentences: Count = 2000
    words: int = Field(60, ge=10, description="number of distinct meanings")
    min_length: Count = 3
    max_length: Count = 8
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _lengths_in_order(self) -> Self:
        if self.min_length > self.max_length:
            raise ValueError(f"min_length {self.min_length} exceeds max_length {self.max_length}")
        return self


class SyntheticSource:
    """Generates sentence pairs from the seed, the same whatever the pair."""

    def __init__(self, settings: SyntheticSettings) -> None:
        self._settings = settings
        self._languages = settings.language_table()
        families = list(dict.fromkeys(entry.family for entry in self._languages.values()))
        self._order = {family: row % 3 for row, family in enumerate(families)}
        self._words = {code: self._spell(entry) for code, entry in self._languages.items()}

    def licences(self) -> dict[str, str]:
        """Made up, hence free."""
        return dict.fromkeys(self._languages, "made up by nsmt: public domain")

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """The inputs are pinned."""

    def identity(self) -> dict[str, Any]:
        """Nothing but the settings."""
        return {}

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Nothing to fetch."""

    def splits(self, pair: Direction) -> tuple[str, ...]:  # noqa: ARG002
        """No split is given."""
        return ("train",)

    def read(
        self,
        pair: Direction,
        split: str,  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """The same meanings in both languages."""
        for meanings in self._meanings():
            yield self._say(meanings, pair.source), self._say(meanings, pair.target)

    def _meanings(self) -> Iterator[list[int]]:
        settings = self._settings
        generator = random.Random(settings.seed)
        weights = list(accumulate(1 / rank for rank in range(1, settings.words + 1)))
        for _ in range(settings.sentences):
            length = generator.randint(settings.min_length, settings.max_length)
            yield generator.choices(range(settings.words), cum_weights=weights, k=length)

    def _say(self, meanings: Sequence[int], language: str) -> str:
        words = [self._words[language][meaning] for meaning in meanings]
        match self._order[self._languages[language].family]:
            case 1:
                words.reverse()
            case 2:
                words[0:-1:2], words[1::2] = words[1::2], words[0:-1:2]
        return " ".join(words) + "."

    def _spell(self, language: Language) -> list[str]:
        suffix = self._syllable("suffix", language.code)
        words: list[str] = []
        for meaning in range(self._settings.words):
            shared = self._number("shared", str(meaning)) % 100 < 100 * _SHARED_SHARE
            speaker = language.family if shared else language.code
            stem = "".join(self._syllable(speaker, f"{meaning}.{part}") for part in range(2))
            # The family's word may meet another: the meaning's number of vowels keeps them apart.
            while stem + suffix in words:
                stem += self._syllable(speaker, f"{meaning}.{stem}")
            words.append(stem + suffix)
        return words

    def _syllable(self, speaker: str, key: str) -> str:
        number = self._number(speaker, key)
        consonant = _CONSONANTS[number % len(_CONSONANTS)]
        return consonant + _VOWELS[number // len(_CONSONANTS) % len(_VOWELS)]

    def _number(self, speaker: str, key: str) -> int:
        text = f"{self._settings.seed}/{speaker}/{key}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
