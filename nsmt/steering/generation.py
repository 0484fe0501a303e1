"""Greedy generation in batches whose rows may each have a language programme of its own.

The language-arithmetics code decodes greedily with a repetition penalty of 1.1 and cuts the text at
a stop string (arXiv 2507.22608, released code).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import torch
from pydantic import Field

from nsmt.settings import Count, Settings
from nsmt.steering.loading import LanguageModel

# Puts a batch's rows under intervention; rows are positions in the list of prompts.
Steer = Callable[[Sequence[int]], AbstractContextManager[None]]


class DecodingSettings(Settings):
    """How text is made, of any length."""

    repetition_penalty: Annotated[float, Field(gt=0)] = 1.1
    batch: Count = Field(16, description="prompts at once")


class GenerationSettings(DecodingSettings):
    """How text is made, and how much of it."""

    max_new_tokens: Count = 256


def generate(
    model: LanguageModel,
    prompts: Sequence[str],
    settings: GenerationSettings,
    *,
    stops: Sequence[str] = (),
    steer: Steer | None = None,
    tell: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """The continuation of each prompt, without what follows the first stop string, in order.

    Prompts of nearly one length go together, padded on the left; a text depends on which by
    rounding alone. `tell` hears how many are done.
    """
    order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
    texts = [""] * len(prompts)
    for start in range(0, len(order), settings.batch):
        rows = order[start : start + settings.batch]
        steering = nullcontext() if steer is None else steer(rows)
        found = _batch(model, [prompts[row] for row in rows], settings, stops, steering)
        for row, text in zip(rows, found, strict=True):
            texts[row] = cut(text, stops)
        tell(len(rows))
    return texts


def cut(text: str, stops: Iterable[str]) -> str:
    """What is before the first stop string."""
    ends = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


@torch.inference_mode()
def _batch(
    model: LanguageModel,
    prompts: list[str],
    settings: GenerationSettings,
    stops: Sequence[str],
    steering: AbstractContextManager[None],
) -> list[str]:
    tokenizer = model.tokenizer
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids = tokenizer(prompts)["input_ids"]
    width = max(map(len, ids))
    # Earlier releases of transformers 5 penalise padding as text. So each row is padded with what
    # it begins with, which is penalised anyway: end of text, for one, would be put off.
    padded = [each[:1] * (width - len(each)) + each for each in ids]
    there = [[0] * (width - len(each)) + [1] * len(each) for each in ids]
    stopping = {"stop_strings": list(stops), "tokenizer": tokenizer} if stops else {}
    with steering:
        made = model.model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(there, device=model.device),
            max_new_tokens=settings.max_new_tokens,
            # Over what a model's own settings ask for.
            do_sample=False,
            num_beams=1,
            repetition_penalty=settings.repetition_penalty,
            pad_token_id=pad,
            **stopping,
        )
    return [str(text) for text in tokenizer.batch_decode(made[:, width:], skip_special_tokens=True)]
