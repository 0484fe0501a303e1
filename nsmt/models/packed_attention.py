"""Attention between the spans of packed batches: a kernel for variable lengths, or padding.

`varlen_attn` is torch's FlashAttention for sequences of variable length. It runs on CUDA in half
precision and without dropout, and how it is told to be causal changed from one release of torch to
the next, which is known here alone. Where it cannot be used, spans are padded to the longest.

Shape suffixes: Q query positions, K key positions, H heads, E width of a head, C spans, L positions
up to the bound of a span's length.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nsmt.data.batch import Spans


def attend_packed(
    query_QHE: Tensor,
    key_KHE: Tensor,
    value_KHE: Tensor,
    *,
    query_spans: Spans,
    key_spans: Spans,
    causal: bool,
    dropout: float = 0.0,
) -> Tensor:
    """Attend from each position to the span of keys of the same number: [Q, H, E].

    Causal means that a query sees no key that has a later place in its span. A query whose span has
    no keys gets zeros.
    """
    half = query_QHE.dtype in (torch.float16, torch.bfloat16)
    if query_QHE.is_cuda and half and not dropout and (kernel := _kernel()) is not None:
        found: Tensor = kernel(
            query_QHE,
            key_KHE,
            value_KHE,
            query_spans.start_C1,
            key_spans.start_C1,
            query_spans.bound,
            key_spans.bound,
            **_reach(causal=causal),
        )
        return found
    return _attend_padded(
        query_QHE,
        key_KHE,
        value_KHE,
        query_spans=query_spans,
        key_spans=key_spans,
        causal=causal,
        dropout=dropout,
    )


@cache
def _kernel() -> Callable[..., Any] | None:
    """torch.nn.attention.varlen.varlen_attn, where this torch has it."""
    try:
        module = importlib.import_module("torch.nn.attention.varlen")
    except ImportError:
        return None
    return module.varlen_attn  # type: ignore[no-any-return]


@cache
def _reach(*, causal: bool) -> dict[str, Any]:
    """The arguments by which this torch's kernel is told what a query may look at."""
    kernel = _kernel()
    assert kernel is not None  # noqa: S101 -- narrows the type
    parameters = inspect.signature(kernel).parameters
    if "window_size" in parameters:
        # (left, right), -1 without limit; since torch 2.11.
        return {"window_size": (-1, 0)} if causal else {}
    return {"is_causal": causal}


def _attend_padded(
    query_QHE: Tensor,
    key_KHE: Tensor,
    value_KHE: Tensor,
    *,
    query_spans: Spans,
    key_spans: Spans,
    causal: bool,
    dropout: float,
) -> Tensor:
    query_CHLE = _spread(query_QHE, query_spans)
    key_CHLE, value_CHLE = (_spread(each, key_spans) for each in (key_KHE, value_KHE))
    key_L = torch.arange(key_spans.bound, device=query_QHE.device)
    length_C = key_spans.start_C1.diff()
    allowed_C1LL = (key_L < length_C[:, None])[:, None, None]
    if causal:
        query_L = torch.arange(query_spans.bound, device=query_QHE.device)
        allowed_C1LL = allowed_C1LL & (key_L <= query_L[:, None])
    # A row without any key would be no number, which zero gradients turn into no number too.
    empty_C111 = (length_C == 0)[:, None, None, None]
    context_CHLE = F.scaled_dot_product_attention(
        query_CHLE, key_CHLE, value_CHLE, attn_mask=allowed_C1LL | empty_C111, dropout_p=dropout
    )
    context_CHLE = context_CHLE.masked_fill(empty_C111, 0.0)
    return context_CHLE[query_spans.sentence_Q, :, _place(query_spans)]


def _spread(x_QHE: Tensor, spans: Spans) -> Tensor:
    """A row for each span, zeros behind its end: [C, H, L, E]."""
    count = len(spans.start_C1) - 1
    rows_RHE = x_QHE.new_zeros(count * spans.bound, *x_QHE.shape[1:])
    index_Q = spans.sentence_Q * spans.bound + _place(spans)
    filled_RHE = rows_RHE.index_copy(0, index_Q, x_QHE)
    return filled_RHE.view(count, spans.bound, *x_QHE.shape[1:]).transpose(1, 2)


def _place(spans: Spans) -> Tensor:
    """The place of each position in its span, padding's too."""
    position_Q = torch.arange(len(spans.sentence_Q), device=spans.sentence_Q.device)
    return position_Q - spans.start_C1[spans.sentence_Q]
