"""What a configuration says of a published evaluation set; `sources/evaluation_sets.py` reads it.

The settings stand apart from the reader because every corpus may name such sets, and the sources
of corpora import the settings of corpora.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from nsmt.settings import Settings

# Becomes part of a file name.
SetCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([_-][A-Za-z0-9]+)*$")]
TextForm = Literal["raw", "tokenised", "detokenised"]


class PublishedSetSettings(Settings):
    """What all evaluation sets have in common."""

    root: str = Field(description="folder of the set, as published")
    codes: dict[str, SetCode] = Field(
        default_factory=dict, description="the set's code by language, where it is another"
    )
    without: tuple[str, ...] = Field(
        (), description="languages that the set lacks; their pairs keep the source's own split"
    )
    transliterate: dict[str, Literal["Latn"]] = Field(
        default_factory=dict, description="script to bring a language's Cyrillic text into"
    )
    form: TextForm = Field(
        "raw",
        description="raw: as published; tokenised: normalised and tokenised as in the EC30 corpus; "
        "detokenised: that undone, as in the references of the EC30 scores",
    )

    def identity(self) -> dict[str, Any]:
        """What decides the text besides the files' content, as plain JSON."""
        dumped: dict[str, Any] = self.model_dump(mode="json", exclude={"root"})
        return dumped


class Flores200Settings(PublishedSetSettings):
    """FLORES-200: dev has 997 lines and devtest 1,012; EC30 is scored on both, 2,009 lines."""

    kind: Literal["flores200"]
    part: Literal["dev", "devtest", "dev+devtest"] = "devtest"


class Ntrex128Settings(PublishedSetSettings):
    """NTREX-128: translations of the 1,997 English sentences of newstest2019."""

    kind: Literal["ntrex128"]


EvaluationSetSettings = Annotated[Flores200Settings | Ntrex128Settings, Field(discriminator="kind")]
