"""Multi-head attention, with a cache for decoding.

Shape suffixes: B sentences, Q query positions, K key positions, D model width, H heads, E width of
a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(slots=True)
class KeyValues:
    """The keys and values of one attention layer, each [B, H, K, E]."""

    keys: Tensor
    values: Tensor

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Add the keys and values of further positions."""
        self.keys = torch.cat((self.keys, keys), dim=2)
        self.values = torch.cat((self.values, values), dim=2)

    def reorder(self, rows: Tensor) -> None:
        """Take other rows of the batch, as beams do."""
        self.keys = self.keys.index_select(0, rows)
        self.values = self.values.index_select(0, rows)


class Attention(nn.Module):
    """Scaled dot-product attention of `heads` heads with biased projections."""

    def __init__(self, d_model: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)

    def project(self, memory_BKD: Tensor) -> KeyValues:
        """The keys and values of what is attended to."""
        return KeyValues(self._split(self.key(memory_BKD)), self._split(self.value(memory_BKD)))

    def forward(
        self,
        x_BQD: Tensor,
        memory: KeyValues,
        *,
        allowed_B1QK: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """Attend from `x_BQD` to `memory`; `allowed_B1QK` is True where it may look."""
        context = F.scaled_dot_product_attention(
            self._split(self.query(x_BQD)),
            memory.keys,
            memory.values,
            attn_mask=allowed_B1QK,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        output: Tensor = self.output(context.transpose(1, 2).flatten(2))
        return output

    def _split(self, x_BKD: Tensor) -> Tensor:
        batch, length, _ = x_BKD.shape
        return x_BKD.view(batch, length, self.heads, -1).transpose(1, 2)
