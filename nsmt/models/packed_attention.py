"""Attention between the spans of packed batches: a kernel for variable lengths, or padding.

FlashAttention for sequences of variable length runs on CUDA in half precision. torch's public way
to it is `varlen_attn`, without dropout; how it is told to be causal changed from one release to the
next, which is known here alone. With dropout, and before torch 2.10, the operator below it is
called. Where no kernel serves, spans are padded to the longest.

Shape suffixes: Q query positions, K key positions, H heads, E width of a head, C spans, L positions
up to the bound of a span's length.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from nsmt.data.batch import Spans
from nsmt.models.dot_product import attend

# Found when this is imported: a compiler cannot follow imports and caches inside a layer.
_VARLEN: Callable[..., Any] | None
try:
    from torch.nn.attention import varlen

    _VARLEN = varlen.varlen_attn
except ImportError:
    _VARLEN = None


def _causal_arguments() -> dict[str, Any]:
    """How this torch's `varlen_attn` is told that no query sees later keys."""
    if _VARLEN is not None and "window_size" in inspect.signature(_VARLEN).parameters:
        # (left, right), -1 without limit; since torch 2.11.
        return {"window_size": (-1, 0)}
    return {"is_causal": True}


_CAUSAL: Final = _causal_arguments()
# Of the heads that FlashAttention has kernels for.
_WIDEST: Final = 256


def kernel_serves(device: str, dtype: torch.dtype, *, width: int) -> bool:
    """Whether packed attention with heads of that width runs in a kernel, not over padding."""
    half = dtype in (torch.float16, torch.bfloat16)
    return device == "cuda" and half and width % 8 == 0 and width <= _WIDEST


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
    kernel = _attend_padded
    if kernel_serves(query_QHE.device.type, query_QHE.dtype, width=query_QHE.shape[-1]):
        kernel = _attend_flash if dropout or _VARLEN is None else _attend_varlen
    return kernel(
        query_QHE,
        key_KHE,
        value_KHE,
        query_spans=query_spans,
        key_spans=key_spans,
        causal=causal,
        dropout=dropout,
    )


def _attend_varlen(
    query_QHE: Tensor,
    key_KHE: Tensor,
    value_KHE: Tensor,
    *,
    query_spans: Spans,
    key_spans: Spans,
    causal: bool,
    dropout: float,
) -> Tensor:
    del dropout
    assert _VARLEN is not None  # noqa: S101 -- narrows the type
    found: Tensor = _VARLEN(
        query_QHE,
        key_KHE,
        value_KHE,
        query_spans.start_C1,
        key_spans.start_C1,
        query_spans.bound,
        key_spans.bound,
        **(_CAUSAL if causal else {}),
    )
    return found


def _attend_flash(
    query_QHE: Tensor,
    key_KHE: Tensor,
    value_KHE: Tensor,
    *,
    query_spans: Spans,
    key_spans: Spans,
    causal: bool,
    dropout: float,
) -> Tensor:
    found: Tensor = torch.ops.aten._flash_attention_forward(
        query_QHE,
        key_KHE,
        value_KHE,
        query_spans.start_C1,
        key_spans.start_C1,
        query_spans.bound,
        key_spans.bound,
        dropout,
        causal,
        False,  # noqa: FBT003 -- no copy of what was dropped
    )[0]
    return found


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
    context_CHLE = attend(
        query_CHLE, key_CHLE, value_CHLE, allowed=allowed_C1LL | empty_C111, dropout=dropout
    )
    context_CHLE = context_CHLE.masked_fill(empty_C111, 0.0)
    context_RHE = context_CHLE.transpose(1, 2).flatten(0, 1)
    return context_RHE.index_select(0, _row(query_spans))


def _spread(x_QHE: Tensor, spans: Spans) -> Tensor:
    """A row for each span, zeros behind its end: [C, H, L, E]."""
    count = len(spans.start_C1) - 1
    rows_RHE = x_QHE.new_zeros(count * spans.bound, *x_QHE.shape[1:])
    filled_RHE = rows_RHE.index_copy(0, _row(spans), x_QHE)
    return filled_RHE.view(count, spans.bound, *x_QHE.shape[1:]).transpose(1, 2)


def _row(spans: Spans) -> Tensor:
    """Where each position, padding's too, lies in a row of `bound` for each span."""
    position_Q = torch.arange(len(spans.sentence_Q), device=spans.sentence_Q.device)
    place_Q = position_Q - spans.start_C1[spans.sentence_Q]
    return spans.sentence_Q * spans.bound + place_Q
