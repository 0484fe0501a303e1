"""The feed-forward layer whose neurons a direction may be denied.

Neuron Specialization (arXiv 2404.11201, equation 4) multiplies the rows of the first weight with a
direction's mask: relu((m ⊙ W1) x + b1). As m is constant along a row, masking the product is the
same function, (m ⊙ W1) x = m ⊙ (W1 x), and needs neither a copy of the weight nor batches of one
direction only. The bias is not masked: a masked neuron puts out relu(b1), a constant.

With `update_only`, masks leave the forward pass alone and keep from the first weight the gradients
of positions that may not use a row: dense computation, updates apart.

Shape suffixes: B rows, S positions, Q positions or 1, D model width, F neurons, P bytes of bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nsmt.models.dropout import Dropout
from nsmt.models.linear import Linear, linear
from nsmt.neurons.atlas import unpack_bits


class FeedForward(nn.Module):
    """W2 relu(where(m, W1 x + b1, b1)) + b2."""

    def __init__(
        self, d_model: int, d_ff: int, *, dropout: float = 0.0, mask_bias: bool = False
    ) -> None:
        super().__init__()
        self.fc1 = Linear(d_model, d_ff)
        self.fc2 = Linear(d_ff, d_model)
        self.dropout = Dropout(dropout)
        self.mask_bias = mask_bias
        self.update_only = False

    def forward(self, x_BSD: Tensor, mask_BQP: Tensor | None = None) -> Tensor:
        """Apply the layer; a bit of `mask_BQP` is 1 where a position may use a neuron."""
        if mask_BQP is not None and self.update_only:
            hidden_BSF = _OwnUpdates.apply(x_BSD, self.fc1.weight, self.fc1.bias, mask_BQP)  # type: ignore[no-untyped-call]
        else:
            hidden_BSF = self.fc1(x_BSD)
        if mask_BQP is not None and not self.update_only:
            silent_F = torch.zeros_like(self.fc1.bias) if self.mask_bias else self.fc1.bias
            hidden_BSF = _Choice.apply(hidden_BSF, silent_F.to(hidden_BSF.dtype), mask_BQP)  # type: ignore[no-untyped-call]
        output: Tensor = self.fc2(self.dropout(F.relu(hidden_BSF)))
        return output


class _Choice(torch.autograd.Function):
    """where(mask, hidden, silent), which keeps bits for the backward pass: eight times fewer bytes.

    A packed batch of 30,720 positions on the twelve sites of a large model would keep 1.5 GB.
    """

    @staticmethod
    def forward(ctx: Any, hidden_BSF: Tensor, silent_F: Tensor, mask_BQP: Tensor) -> Tensor:  # noqa: ANN401 -- torch's protocol
        ctx.save_for_backward(mask_BQP)
        return _chosen(unpack_bits(mask_BQP, len(silent_F)), hidden_BSF, silent_F)

    @staticmethod
    def backward(ctx: Any, gradient_BSF: Tensor) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN401
        (mask_BQP,) = ctx.saved_tensors
        mask_BQF = unpack_bits(mask_BQP, gradient_BSF.shape[-1])
        nothing = gradient_BSF.new_zeros(())
        silent_F = None
        if ctx.needs_input_grad[1]:
            # Where all positions of a row have one mask, they are summed before they are masked.
            whole_rows = mask_BQF.shape[1] == 1
            by_mask_BQF = gradient_BSF.sum(1, keepdim=True) if whole_rows else gradient_BSF
            silent_F = torch.where(mask_BQF, nothing, by_mask_BQF).sum((0, 1))
        return _chosen(mask_BQF, gradient_BSF, nothing), silent_F, None


def _chosen(mask_BQF: Tensor, own_BSF: Tensor, other: Tensor) -> Tensor:
    """where(mask, own, other), which takes a CPU twice as long as arithmetic with zeros and ones.

    By arithmetic it is the same to the bit for finite values, and what is not finite stays so.
    """
    if own_BSF.device.type != "cpu" or mask_BQF.shape[1] != 1 or torch.compiler.is_compiling():
        return torch.where(mask_BQF, own_BSF, other)
    return torch.lerp(other.expand_as(own_BSF), own_BSF, mask_BQF.to(own_BSF.dtype))


class _OwnUpdates(torch.autograd.Function):
    """x W^T + b, whose weight hears of a position only in the rows that the position may use."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x_BSD: Tensor,
        weight_FD: Tensor,
        bias_F: Tensor,
        mask_BQP: Tensor,
    ) -> Tensor:
        output_BSF = linear(x_BSD, weight_FD, bias_F)
        # As the product took them: autocast is not on in the backward pass.
        ctx.save_for_backward(x_BSD.to(output_BSF.dtype), weight_FD.to(output_BSF.dtype), mask_BQP)
        return output_BSF

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        gradient_BSF: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        x_BSD, weight_FD, mask_BQP = ctx.saved_tensors
        mask_BQF = unpack_bits(mask_BQP, gradient_BSF.shape[-1])
        own_BSF = torch.where(mask_BQF, gradient_BSF, gradient_BSF.new_zeros(()))
        weight_grad_FD = own_BSF.flatten(0, -2).T @ x_BSD.flatten(0, -2)
        x_grad_BSD = gradient_BSF @ weight_FD
        return x_grad_BSD, weight_grad_FD, gradient_BSF.flatten(0, -2).sum(0), None
