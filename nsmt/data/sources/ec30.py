"""EC30: English and thirty languages, five families by three tiers of resources.

The training corpus of Neuron Specialization (section 4.1), sampled from OPUS and released as the
larger EC40 with "Towards a Better Understanding of Variations in Zero-Shot Neural Machine
Translation Performance". Its plain release holds one pair of files a language, `en-de.en` and
`en-de.de`, in one folder: deduplicated, punctuation normalised, tokenised by Moses with hyphens
split and nothing escaped. Nominal sizes are 5 million pairs (High), 1 million (Med; Hausa has
334,000) and 100,000 (Low). The pairs and tiers are those of conf/data/ec30.yaml.

The release makes valid of NTREX-128 and test of FLORES-200, which `data.valid_set` and
`data.test_set` name. NTREX-128 lacks Occitan; the release brings 842 sampled lines for it, not
tokenised, as `val-others/test.en-oc.oc`. Where a user puts that folder is not known: it is looked
for below the root, and `valid_pattern` says otherwise. That the archive of the plain release
unpacks into one flat folder is not confirmed; `pattern` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from nsmt.data.evaluation_settings import TextForm
from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.sources.moses import detokeniser, text_form
from nsmt.data.sources.parallel_files import LocalFiles, check_pattern
from nsmt.languages import Direction

LICENCE = "sampled from OPUS, whose corpora have licences of their own"

SplitName = Literal["train", "valid", "test"]


class Ec30Settings(CorpusSettings):
    """The EC30 corpus as released, or raw text in the same layout."""

    places: ClassVar = frozenset({"root"})

    source: Literal["ec30"]
    name: CorpusName = "ec30"
    root: str = Field(description="folder of the files en-de.en, en-de.de, …")
    pattern: str = Field(
        "{src}-{tgt}.{lang}", description="train's file name below root; {src} {tgt} {lang}, *"
    )
    valid_pattern: str | None = Field(
        "val-others/test.{src}-{tgt}.{lang}", description="own valid, for what valid_set lacks"
    )
    test_pattern: str | None = Field(None, description="own test, for what test_set lacks")
    tokenised: tuple[SplitName, ...] = Field(
        ("train",), description="splits whose files are tokenised, as in the release; []: none"
    )
    detokenise: bool = Field(
        default=True,
        description="make running text of it; false: train on tokens, as the paper does",
    )

    @model_validator(mode="after")
    def _patterns_fit(self) -> Self:
        for pattern in self.patterns().values():
            check_pattern(pattern)
        return self

    def patterns(self) -> dict[str, str]:
        """The patterns of the files' names, by split."""
        named = {"train": self.pattern, "valid": self.valid_pattern, "test": self.test_pattern}
        return {split: pattern for split, pattern in named.items() if pattern is not None}


class Ec30Source(LocalFiles):
    """Reads the release, and brings its splits into one form of text."""

    def __init__(
        self, settings: Ec30Settings, *, evaluated: Collection[Direction] = frozenset()
    ) -> None:
        patterns = settings.patterns()
        super().__init__(settings, root=settings.root, patterns=patterns, evaluated=evaluated)
        self._settings = settings

    def licences(self) -> dict[str, str]:
        """OPUS's, which differ from corpus to corpus."""
        return dict.fromkeys(self._settings.language_table(), LICENCE)

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the aligned lines in the form that the settings ask for."""
        source_of, target_of = (self._form(split, code) for code in (pair.source, pair.target))
        for source, target in self.lines(pair, split):
            yield source_of(source), target_of(target)

    def _form(self, split: str, language: str) -> Callable[[str], str]:
        tokenised, detokenise = self._settings.tokenised, self._settings.detokenise
        if split in tokenised:
            return detokeniser(language) if detokenise else str
        # What lies raw beside tokenised training text goes the same way as that went.
        form: TextForm = "detokenised" if detokenise else "tokenised"
        return text_form(form if "train" in tokenised else "raw", language)
