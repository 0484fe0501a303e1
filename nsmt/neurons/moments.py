"""Sums of activations over positions: what counts, means, deviations and magnitudes are made of.

| kind | summed over the tokens of a task | wanted by |
|---|---|---|
| `active` | 1 where a > 0 | every rule but `lave` and `difference` |
| `sum` | a | those two; every operation with a mean |
| `square` | a² | the operations `random` and `noise` |
| `positive` | max(a, 0) | analysis |
| `written` | \\|h·w\\|: the length of what the neuron adds to the residual stream | analysis |

a is the activation; h is what the second projection reads of the neuron (a itself, or in a gated
block a·up) and w its column of that projection. Language Arithmetics (arXiv 2507.22608) adds and
replaces by the mean of a; Configurable Foundation Models (arXiv 2409.02877, section 5) ranks by the
output's magnitude.

Positions are summed in fp32 by products with their 0/1 weights, several times faster than boolean
reductions or sums by index, and exact for counts up to 2^24 positions of a row. Neither autocast
nor TF32 (`trainer.tf32`) has a part in it: they would round each summand to eight or ten bits.

Shape suffixes: B rows, S positions, F neurons of a site, K sums of a row, each with its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Moment = Literal["sum", "square", "positive", "written"]
Summand = Literal["active"] | Moment
# Values that are looked at together. A CPU makes all its sums of them while they are in its cache
# (half the time of one sum after the other); a GPU only has to have room for a copy.
_BLOCK_CPU = 1 << 17
_BLOCK_GPU = 1 << 26


def position_sums(
    values_BSF: Tensor, weight_BKS: Tensor, kinds: Sequence[Summand]
) -> dict[Summand, Tensor]:
    """Weighted sums over the positions of each row, for each kind: fp32 [B, K, F].

    `values_BSF` is the activation; for `written` it is h, and the sum lacks the length of w.
    """
    rows, _, neurons = values_BSF.shape
    sums = {kind: weight_BKS.new_zeros(rows, weight_BKS.shape[1], neurons) for kind in kinds}
    with torch.autocast(values_BSF.device.type, enabled=False), _whole_fp32():
        for row, position in _blocks(values_BSF):
            some_BSF = values_BSF[row, position].to(torch.float32)
            weight = weight_BKS[row, :, position]
            room = torch.empty_like(some_BSF)
            for kind, sum_BKF in sums.items():
                sum_BKF[row].baddbmm_(weight, _summand(some_BSF, kind, room))
    return sums


@contextmanager
def _whole_fp32() -> Iterator[None]:
    """Products of fp32 with all of its bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _summand(values: Tensor, kind: Summand, room: Tensor) -> Tensor:
    match kind:
        case "active":
            return torch.gt(values, 0, out=room)
        case "sum":
            return values
        case "square":
            return torch.square(values, out=room)
        case "positive":
            return torch.clamp(values, min=0, out=room)
        case "written":
            return torch.abs(values, out=room)


def _blocks(values_BSF: Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and positions that are looked at together: whole rows, or a part of one."""
    rows, positions, neurons = values_BSF.shape
    most = _BLOCK_CPU if values_BSF.device.type == "cpu" else _BLOCK_GPU
    length = max(1, min(positions, most // max(1, neurons)))
    height = max(1, most // max(1, neurons * positions))
    for row in range(0, rows, height):
        for position in range(0, positions, length):
            yield slice(row, row + height), slice(position, position + length)
