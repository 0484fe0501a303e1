"""How much of each language's held-out text a step reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nsmt.commands.language_steps.subject import Count
from nsmt.settings import Settings


class ExcerptSettings(Settings):
    """Whole contexts of held-out text, `rows` of them a batch."""

    tokens: Count = Field(description="of each language, in whole contexts")
    context: Annotated[int, Field(ge=2, description="tokens of a context")]
    rows: Count = Field(4, description="contexts of a batch")

    @model_validator(mode="after")
    def _fills_a_context(self) -> ExcerptSettings:
        if self.tokens < self.context:
            raise ValueError(
                f"tokens={self.tokens} does not fill a context of {self.context}: "
                f"set tokens to {self.context} or more, or a shorter context"
            )
        return self
