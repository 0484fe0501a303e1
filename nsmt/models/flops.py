"""How many floating-point operations a batch takes: those of its real tokens, and no others.

A multiplication and an addition count as two. Embeddings, norms, biases, activations and the
softmax count as nothing. A backward pass takes twice a forward pass, and once where the weights are
frozen: half of it makes their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.models.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Real tokens of batches: of both sides, and the sums over sentences of S², T² and S·T."""

    source: float
    target: float
    source_squared: float
    target_squared: float
    crossed: float

    @classmethod
    def of(cls, batch: BatchLayout) -> TokenCounts:
        """Count a batch; waits for its device."""
        return cls(*count_tokens(batch).tolist())


def count_tokens(batch: BatchLayout) -> Tensor:
    """The fields of `TokenCounts`, float64 [5], on the batch's device, which nothing waits for."""
    source_C, target_C = (
        real_BS.sum(1, dtype=torch.float64)
        if spans is None
        else torch.zeros(len(batch), dtype=torch.float64, device=real_BS.device).index_add_(
            0, spans.sentence_Q, real_BS[0].to(torch.float64)
        )
        for real_BS, spans in (
            (batch.source_real_BS, batch.source_spans),
            (batch.target_real_BT, batch.target_spans),
        )
    )
    sums = (source_C, target_C, source_C * source_C, target_C * target_C, source_C * target_C)
    return torch.stack([each.sum() for each in sums])


def forward_flops(model: ModelSettings, *, vocabulary: int, tokens: TokenCounts) -> float:
    """Operations of one teacher-forced forward pass, output projection included."""
    width, neurons = model.d_model, model.d_ff
    projection, feed_forward = 2 * width * width, 4 * width * neurons
    source = model.encoder_layers * (4 * projection + feed_forward)
    # Keys and values of the attention to the source are made of source tokens.
    source += model.decoder_layers * 2 * projection
    target = model.decoder_layers * (6 * projection + feed_forward) + 2 * width * vocabulary
    # Scores and their weighted sum; causal attention needs half of the square.
    attention = (
        4
        * width
        * (
            model.encoder_layers * tokens.source_squared
            + model.decoder_layers * (tokens.target_squared / 2 + tokens.crossed)
        )
    )
    return tokens.source * source + tokens.target * target + attention


def adapter_flops(model: ModelSettings, *, bottleneck: int, tokens: TokenCounts) -> float:
    """Operations of a forward pass through an adapter of that width after every layer."""
    positions = model.encoder_layers * tokens.source + model.decoder_layers * tokens.target
    return 4 * model.d_model * bottleneck * positions


def training_flops(
    model: ModelSettings, *, vocabulary: int, tokens: TokenCounts, bottleneck: int | None = None
) -> float:
    """Operations of a forward and a backward pass.

    With a `bottleneck`, those of adapters of that width on the frozen model. What the lowest layers
    are spared there, below which nothing is trained, is not taken off.
    """
    forward = forward_flops(model, vocabulary=vocabulary, tokens=tokens)
    if bottleneck is None:
        return 3 * forward
    return 2 * forward + 3 * adapter_flops(model, bottleneck=bottleneck, tokens=tokens)
