"""How many floating-point operations a batch takes: those of its real tokens, and no others.

A multiplication and an addition count as two. Embeddings, norms, biases, activations and the
softmax count as nothing. A backward pass takes twice a forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nsmt.data.batch import BatchLayout
from nsmt.models.settings import ModelSettings


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Real tokens of a batch: of both sides, and the sums over its sentences of S², T² and S·T."""

    source: int
    target: int
    source_squared: int
    target_squared: int
    crossed: int

    @classmethod
    def of(cls, batch: BatchLayout) -> TokenCounts:
        """Count a batch; asks its device."""
        if batch.source_spans is None or batch.target_spans is None:
            source_C, target_C = batch.source_real_BS.sum(1), batch.target_real_BT.sum(1)
        else:
            count = len(batch.direction_C)
            source_C, target_C = (
                torch.zeros(count, dtype=torch.int64, device=real.device).index_add_(
                    0, spans.sentence_Q, real[0].long()
                )
                for real, spans in (
                    (batch.source_real_BS, batch.source_spans),
                    (batch.target_real_BT, batch.target_spans),
                )
            )
        return cls(
            source=int(source_C.sum()),
            target=int(target_C.sum()),
            source_squared=int((source_C * source_C).sum()),
            target_squared=int((target_C * target_C).sum()),
            crossed=int((source_C * target_C).sum()),
        )


def forward_flops(model: ModelSettings, *, vocabulary: int, tokens: TokenCounts) -> int:
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
            + model.decoder_layers * (tokens.target_squared // 2 + tokens.crossed)
        )
    )
    return tokens.source * source + tokens.target * target + attention


def training_flops(model: ModelSettings, *, vocabulary: int, tokens: TokenCounts) -> int:
    """Operations of a forward and a backward pass."""
    return 3 * forward_flops(model, vocabulary=vocabulary, tokens=tokens)
