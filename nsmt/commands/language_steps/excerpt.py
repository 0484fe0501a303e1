"""How much of each language's held-out text a step reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nsmt.settings import Count, Settings


class ExcerptSettings(Settings):
    """Whole contexts of held-out text, `rows` of them a batch."""

    tokens: Count = Field(description="of each language, in whole contexts")
    context: Annotated[int, Field(ge=2, description="tokens of a context")]
    rows: Count = Field(4, description="contexts of a batch")

    @model_validator(mode="after")
    def _fills_a_context(self) -> ExcerptSettings:
        require_a_context(self.tokens, self.context)
        return self


def require_a_context(tokens: int, context: int) -> None:
    """A ValueError if so many tokens are not one context."""
    if tokens < context:
        raise ValueError(
            f"tokens={tokens} does not fill a context of {context}: "
            f"set tokens to {context} or more, or a shorter context"
        )
