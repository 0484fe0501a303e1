"""Scaled dot-product attention of padded rows, in the precision a processor is fast in.

Shape suffixes: B rows, H heads, Q query positions, K key positions, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(
    query_BHQE: Tensor,
    keys_BHKE: Tensor,
    values_BHKE: Tensor,
    *,
    allowed: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Attend where `allowed` (broadcast to [B, H, Q, K]) is True, to no later key if `causal`."""
    kind = query_BHQE.dtype
    if kind != torch.bfloat16 or query_BHQE.device.type != "cpu":
        return F.scaled_dot_product_attention(
            query_BHQE,
            keys_BHKE,
            values_BHKE,
            attn_mask=allowed,
            dropout_p=dropout,
            is_causal=causal,
        )
    # The backward pass of torch 2.13's CPU kernel takes four times as long in bf16 as in fp32.
    with torch.autocast("cpu", enabled=False):
        query_BHQE, keys_BHKE, values_BHKE = (
            each.float() for each in (query_BHQE, keys_BHKE, values_BHKE)
        )
        return attend(
            query_BHQE, keys_BHKE, values_BHKE, allowed=allowed, causal=causal, dropout=dropout
        ).to(kind)
