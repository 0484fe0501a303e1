"""How many bytes a number of the statistics takes: eight while adding up, four where it is kept.

A count is kept as int32 where all of a table fit, else as int64: exact either way. A sum is kept as
float32, to 2⁻²⁴ of itself, which is what the fp32 sums of batches lose anyway; a mean is as exact,
and a deviation σ to about 2⁻²⁴·(1 + (μ/σ)²) of itself. A sum too large for float32 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

WIDE_COUNT, WIDE_SUM = torch.int64, torch.float64
COUNTS, SUMS = (torch.int32, WIDE_COUNT), (torch.float32, WIDE_SUM)


def wide(table: Tensor) -> Tensor:
    """What can be added to without end: int64 or float64; the table itself if it is that."""
    return table.to(WIDE_SUM if table.is_floating_point() else WIDE_COUNT)


def narrow(table: Tensor) -> Tensor:
    """The table in half the bytes, where every number of it fits."""
    if table.dtype == WIDE_COUNT:
        fits = not table.numel() or int(table.max()) <= torch.iinfo(torch.int32).max
        return table.to(torch.int32) if fits else table
    if table.dtype == WIDE_SUM:
        rounded = table.to(torch.float32)
        return rounded if bool((rounded.isfinite() | ~table.isfinite()).all()) else table
    return table
