"""Multi-head attention over padded rows, packed spans, or the cache of a beam search.

Shape suffixes: B rows, Q query positions, K key positions, D model width, H heads, E width of a
head, C spans, L positions of the longest span.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from nsmt.data.batch import Spans
from nsmt.models.dot_product import attend
from nsmt.models.linear import Linear
from nsmt.models.packed_attention import attend_packed


@dataclass(slots=True)
class KeyValues:
    """The keys and values of one attention layer, each [B, K, H, E]."""

    keys: Tensor
    values: Tensor

    def take(self, rows: Tensor) -> KeyValues:
        """Those of some rows of the batch."""
        return KeyValues(self.keys.index_select(0, rows), self.values.index_select(0, rows))


@dataclass(frozen=True, slots=True)
class Reach:
    """What each query may look at.

    Padded: the keys where `allowed` (broadcast to [B, 1, Q, K]) is True, no later ones if `causal`.
    Packed: the keys of its own span, no later ones if `causal`.
    """

    allowed: Tensor | None = None
    causal: bool = False
    query_spans: Spans | None = None
    key_spans: Spans | None = None


class Attention(nn.Module):
    """Scaled dot-product attention of `heads` heads with biased projections."""

    def __init__(self, d_model: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = Linear(d_model, d_model)
        self.key = Linear(d_model, d_model)
        self.value = Linear(d_model, d_model)
        self.output = Linear(d_model, d_model)

    def project(self, memory_BKD: Tensor) -> KeyValues:
        """The keys and values of what is attended to."""
        return KeyValues(self._split(self.key(memory_BKD)), self._split(self.value(memory_BKD)))

    def forward(self, x_BQD: Tensor, memory: KeyValues, reach: Reach) -> Tensor:
        """Attend from `x_BQD` to `memory` as far as `reach` allows."""
        query_BQHE = self._split(self.query(x_BQD))
        dropout = self.dropout if self.training else 0.0
        if reach.query_spans is not None and reach.key_spans is not None:
            context_QHE = attend_packed(
                query_BQHE[0],
                memory.keys[0],
                memory.values[0],
                query_spans=reach.query_spans,
                key_spans=reach.key_spans,
                causal=reach.causal,
                dropout=dropout,
            )
            context_BQHE = context_QHE[None]
        else:
            query_BHQE, keys_BHKE, values_BHKE = (
                each.transpose(1, 2) for each in (query_BQHE, memory.keys, memory.values)
            )
            context_BHQE = attend(
                query_BHQE,
                keys_BHKE,
                values_BHKE,
                allowed=reach.allowed,
                causal=reach.causal,
                dropout=dropout,
            )
            context_BQHE = context_BHQE.transpose(1, 2)
        output: Tensor = self.output(context_BQHE.flatten(2))
        return output

    def _split(self, x_BKD: Tensor) -> Tensor:
        return x_BKD.view(*x_BKD.shape[:-1], self.heads, -1)
