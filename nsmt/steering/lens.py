"""The logit lens: what a language model would predict if it ended after a block.

The residual stream after each block goes through the model's own last norm and head, as the stream
after the last block does (nostalgebraist, "interpreting GPT: the logit lens", 2020). Blocks were
not trained for that: a poor reading of an early layer says little of what the layer knows.

Shape suffixes: B contexts of a batch, S positions, D width of the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from nsmt.steering.families import family_of


@contextmanager
def residual_stream(model: nn.Module) -> Iterator[list[Tensor]]:
    """A list that the forward passes within fill: [B, S, D] after each block, in order."""
    seen: list[Tensor] = []

    def see(_: nn.Module, __: Any, output: Any) -> None:  # noqa: ANN401
        # Some blocks give more than the stream.
        seen.append(output[0] if isinstance(output, tuple) else output)

    blocks = model.get_submodule(family_of(str(model.config.model_type)).blocks)  # type: ignore[union-attr]
    handles = [block.register_forward_hook(see) for block in blocks.children()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def unembedded(model: Any, stream_BSD: Tensor) -> Tensor:  # noqa: ANN401 -- of `transformers`
    """The logits [B, S, V] that the model makes of the residual stream after its last block."""
    for name in family_of(str(model.config.model_type)).tail:
        if (module := attrgetter(name)(model)) is not None:
            stream_BSD = module(stream_BSD)
    logits_BSV: Tensor = model.get_output_embeddings()(stream_BSD)
    # Cohere scales logits, Gemma 2 and 3 may bound them.
    if (scale := getattr(model.config, "logit_scale", None)) is not None:
        logits_BSV = logits_BSV * scale
    if (bound := getattr(model.config, "final_logit_softcapping", None)) is not None:
        logits_BSV = torch.tanh(logits_BSV / bound) * bound
    return logits_BSV
