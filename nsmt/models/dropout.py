"""Dropout whose random numbers do not cost a CPU more than the layers around it.

torch draws a number for each element, one after the other: a sixteenth of a training step of
`mt_small` on 2 cores. Four elements share one here, with 16 bits each, so that the share that is
dropped is `p` to within 1/131,072. Elsewhere, and in compiled layers, this is torch's own.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """While training, zero each element with probability `p` and scale up the others."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """`x` itself when not training, or where nothing is to be dropped."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped: Tensor = _SharedBits.apply(x, self.p)  # type: ignore[no-untyped-call]
        return dropped

    def extra_repr(self) -> str:
        """The probability, as torch's own shows it."""
        return f"p={self.p}"


class _SharedBits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:  # noqa: ANN401 -- torch's protocol
        dropped = round(p * _LEVELS)
        words = torch.empty(math.ceil(x.numel() / 4), dtype=torch.int64)
        bits = words.random_(-(1 << 63), None).view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= dropped - _LEVELS // 2
        ctx.save_for_backward(kept)
        ctx.scale = _LEVELS / max(1, _LEVELS - dropped)
        return (x * kept).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        (kept,) = ctx.saved_tensors
        return (gradient * kept).mul_(ctx.scale), None
