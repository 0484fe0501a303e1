"""What a configuration says of any corpus; each source adds its own beside its code.

Percentages are shares in [0, 1). Everything that changes the prepared bytes is part of
`identity()`, from which the corpus folder is named; where the inputs lie and how the trained
sampler weighs languages are not.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from nsmt.data.evaluation_settings import EvaluationSetSettings
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction, LanguageSettings, LanguageTable, both_ways
from nsmt.settings import Count, Settings, Share

Temperature = Annotated[
    float, Field(ge=1, description="p ~ n^(1/T): 1 as found, larger is flatter")
]
CorpusName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]
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
    "script",
    "language",
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
    min_script_share: float = Field(
        0.5, gt=0, le=1, description="step script: letters in the language's own script"
    )
    min_language_probability: float = Field(
        0.1, gt=0, lt=1, description="step language: what the identifier gives the language"
    )
    min_identified_characters: Count = Field(
        30, description="step language: shorter text is not judged"
    )
    unidentified_languages: tuple[str, ...] = Field(
        (), description="step language: text in these is not judged, as in [ti]"
    )
    max_tokens: Count = Field(250, description="longest side in pieces, without tag and </s>")
    deduplicate: bool = Field(default=True, description="drop repeated pairs of train")


class VocabularySettings(Settings):
    """The joint SentencePiece vocabulary, trained when the corpus is prepared, or given."""

    model: str | None = Field(
        None, description="a vocabulary.model, or a checkpoint's folder, to use as it is"
    )
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


class MixSettings(Settings):
    """One entry of a curriculum: which directions are sampled, how, and for how long."""

    updates: Count | None = Field(None, description="how long; null, the last entry's: to the end")
    temperature: Temperature | None = Field(None, description="null: data.temperature")
    directions: tuple[str, ...] | None = Field(
        None, min_length=1, description="as in de-en; null: all of the corpus"
    )
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict, description="factors on the shares of directions: 2 is twice as often"
    )


class CorpusSettings(Settings):
    """What every source has in common."""

    # Fields that only say where inputs lie; a source adds its own.
    places: ClassVar[frozenset[str]] = frozenset()

    name: CorpusName = Field(description="first half of the corpus folder's name")
    pivot: str = Field("en", description="held-out text is recognised by this language's side")
    languages: dict[str, LanguageSettings] = Field(
        default_factory=dict, description="what the catalogue lacks, or a resource tier"
    )
    pairs: tuple[str, ...] = Field(min_length=1, description="parallel corpora, as in en-de")
    directions: tuple[str, ...] | None = Field(
        None, description="directions to train, as in de-en; null: both ways of every pair"
    )
    split: SplitSettings = SplitSettings()
    max_train: dict[str, Count] = Field(
        default_factory=dict,
        description="training sentences a pair, the lowest hashes, as in {en-de: 4000}",
    )
    cleaning: CleaningSettings = CleaningSettings()
    vocabulary: VocabularySettings = VocabularySettings()
    valid_set: EvaluationSetSettings | None = Field(
        None, description="a published set as valid of the pairs that it covers"
    )
    test_set: EvaluationSetSettings | None = Field(
        None, description="a published set as test of the pairs that it covers"
    )
    temperature: Temperature = 5.0
    curriculum: tuple[MixSettings, ...] = Field(
        (), description="mixes one after the other; none: all directions at the temperature"
    )
    workers: Count | None = Field(
        None, description="processes that clean and encode; null: one a core"
    )
    prepared: str | None = Field(
        None, description="a corpus of these settings, prepared elsewhere, to use as it is"
    )

    @field_validator("max_train")
    @classmethod
    def _limits_known_pairs(cls, limits: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        if "pairs" not in info.data:
            # They are at fault themselves, which is said of them.
            return limits
        pairs = info.data["pairs"]
        # Either way round; what is no pair at all is not among them.
        known, named = ({p: tuple(sorted(p.split("-"))) for p in some} for some in (pairs, limits))
        if unknown := [pair for pair, codes in named.items() if codes not in known.values()]:
            raise ValueError(f"{unknown} are not among the pairs: {', '.join(pairs)}")
        if len(set(named.values())) < len(named):
            raise ValueError(f"{', '.join(limits)} name a pair twice")
        return limits

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
        codes = {code for pair in pairs for code in (pair.source, pair.target)}
        if strangers := set(self.cleaning.unidentified_languages) - codes:
            raise ValueError(f"cleaning.unidentified_languages: {sorted(strangers)} are in no pair")
        self._check_curriculum({str(direction) for direction in directions})
        return self

    def _check_curriculum(self, directions: set[str]) -> None:
        for place, mix in enumerate(self.curriculum):
            last = place == len(self.curriculum) - 1
            if (mix.updates is None) != last:
                raise ValueError("every mix of the curriculum but the last one needs its updates")
            chosen = directions if mix.directions is None else set(mix.directions)
            if unknown := (chosen | mix.weights.keys()) - directions:
                raise ValueError(f"the curriculum names {sorted(unknown)}, which are not trained")
            if outside := mix.weights.keys() - chosen:
                raise ValueError(f"the curriculum weighs {sorted(outside)} without sampling them")

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

    @property
    def train_limits(self) -> dict[Direction, int]:
        """`max_train` of the pairs that have one, the way round that `pairs` names them."""
        limits = {Direction.parse(text): limit for text, limit in self.max_train.items()}
        both = {way.reverse: limit for way, limit in limits.items()} | limits
        return {pair: both[pair] for pair in self.parsed_pairs if pair in both}

    def language_table(self) -> LanguageTable:
        """The languages of all pairs, in order of first appearance, as described."""
        codes = [code for pair in self.parsed_pairs for code in (pair.source, pair.target)]
        return LanguageTable(codes, self.languages)

    def sampling(self) -> dict[str, Any]:
        """How training draws from the prepared corpus, as plain JSON."""
        return self.model_dump(mode="json", include={"temperature", "curriculum"})

    def identity(self) -> dict[str, Any]:
        """What decides the prepared bytes, as plain JSON: neither paths nor sampling."""
        exclude: dict[str, Any] = dict.fromkeys(
            ("temperature", "curriculum", "workers", "prepared", "max_train", *self.places), True
        )
        # A vocabulary that is given is told by its content.
        exclude |= {"valid_set": {"root"}, "test_set": {"root"}, "vocabulary": {"model"}}
        decisive = self.model_dump(mode="json", exclude=exclude)
        # Corpora and runs from before there were limits keep their names.
        if limits := {str(pair): limit for pair, limit in self.train_limits.items()}:
            decisive["max_train"] = limits
        return decisive
