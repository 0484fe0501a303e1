"""How a question is put to a model."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from nsmt.evaluation.language_models.forcing import QUESTION


def _asks(prompt: str) -> str:
    if QUESTION not in prompt:
        raise ValueError(f"a prompt holds {QUESTION} where the question goes")
    return prompt


Prompt = Annotated[str, AfterValidator(_asks)]
