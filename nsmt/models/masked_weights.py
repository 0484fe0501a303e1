"""Weights that each direction has masks of (LaSS): a pass for each direction of a batch.

A sentence sees W ⊙ m of its own direction, and the gradient of a weight is m ⊙ dL/d(W ⊙ m), summed
over directions. Masks of single weights do not commute with a product as those of rows do, so
directions cannot share one: a batch is split by direction, and every part has a copy of the masked
weights until the backward pass. That is cheap where batches hold one direction (batch.homogeneous),
as in the papers' code; a batch of 60 directions holds 60 copies. On one core, with 44M weights that
have masks, a step of 2,048 tokens takes 1.01 of the dense time for one direction and 2.2 for 16
together; of 4,096 tokens, 1.02 and 1.8.

Shape suffixes: N target tokens of a part, D model width, V vocabulary, T directions, P bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nsmt.data.batch import BatchLayout
from nsmt.data.parts import by_direction
from nsmt.languages import Direction
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import OUTPUT, WeightMasks, maskable_weights
from nsmt.neurons.atlas import unpack_bits


class Part(NamedTuple):
    """Sentences of a batch that one set of weights has read.

    Of each of their target tokens that count, in order: the model's output; the weight that makes
    logits of it; and the token.
    """

    batch: BatchLayout
    hidden_ND: Tensor
    weight_VD: Tensor
    target_N: Tensor

    @classmethod
    def of(cls, batch: BatchLayout, hidden_BTD: Tensor, weight_VD: Tensor) -> Part:
        """What counts of a whole batch's output."""
        return cls(batch, batch.counted(hidden_BTD), weight_VD, batch.counted(batch.target_out_BT))


class DirectionWeights(nn.Module):
    """The weight masks of a run's directions on the device; `forward` gives the masked weights."""

    packed_TP: Tensor

    def __init__(
        self, masks: WeightMasks, directions: Sequence[Direction], *, model: Transformer
    ) -> None:
        super().__init__()
        masks.require_fit(model)
        chosen = masks.select([str(direction) for direction in directions])
        self.shapes = chosen.shapes
        # Not persistent: a checkpoint stores the masks themselves.
        packed_TP = torch.cat([chosen.packed[name] for name in self.shapes], dim=-1)
        self.register_buffer("packed_TP", packed_TP, persistent=False)

    def forward(self, model: Transformer, row: int) -> dict[str, Tensor]:
        """W ⊙ m of every weight that has masks, for the direction of that row, by name."""
        own = maskable_weights(model, output_projection=True)
        sizes = [(math.prod(shape) + 7) // 8 for shape in self.shapes.values()]
        bits = torch.split(self.packed_TP[row], sizes)
        return {
            name: _Masked.apply(own[name], bits_P)  # type: ignore[no-untyped-call]
            for name, bits_P in zip(self.shapes, bits, strict=True)
        }


def masked_parts(
    model: Transformer, weights: DirectionWeights, batch: BatchLayout
) -> Iterator[Part]:
    """The teacher-forced pass of each direction in the batch, with its own weights."""
    for row, part in by_direction(batch):
        own = weights(model, row)
        # The forward pass ends before the output projection, whose weight the loss takes.
        output = own.pop(OUTPUT, model.output.weight)
        # Tied weights are those of embeddings too, which have no masks.
        hidden_BTD = functional_call(model, own, (part,), tie_weights=False)
        yield Part.of(part, hidden_BTD, output)


class _Masked(torch.autograd.Function):
    """W ⊙ m, which keeps bits for the backward pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bits_P: Tensor) -> Tensor:  # noqa: ANN401 -- torch's protocol
        ctx.save_for_backward(bits_P)
        return masked(weight, bits_P)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (bits_P,) = ctx.saved_tensors
        return masked(gradient, bits_P), None


def masked(values: Tensor, bits_P: Tensor) -> Tensor:
    """The values whose bit is 1, zero elsewhere."""
    # On a CPU, a third of the time of `where`.
    return values * unpack_bits(bits_P, values.numel()).view_as(values)
