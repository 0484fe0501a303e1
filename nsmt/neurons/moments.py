"""Sums of activations over tokens, by task: what means, deviations and magnitudes are made of.

| kind | summed over the tokens of a task |
|---|---|
| `sum` | a |
| `square` | a² |
| `positive` | max(a, 0) |
| `written` | \\|h·w\\|: the length of what the neuron adds to the residual stream |

a is the activation; h is what the second projection reads of the neuron (a itself, or in a gated
block a·up) and w its column of that projection. Language Arithmetics (arXiv 2507.22608) adds and
replaces by the mean of a; Configurable Foundation Models (arXiv 2409.02877, section 5) ranks by the
output's magnitude.

A batch is summed in fp32 (a matrix product with the 0/1 weights of the positions, several times
faster than a sum by index) and added up in float64.

Shape suffixes: B rows, S positions, C sentences (B of them, or packed into one row), F neurons of a
site, T tasks.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Moment = Literal["sum", "square", "positive", "written"]


def transformed(activation_BSF: Tensor, kind: Moment) -> Tensor:
    """What a kind adds up of each activation: fp32; `written` needs more than the activation."""
    values_BSF = activation_BSF.to(torch.float32)
    if kind == "sum":
        return values_BSF
    if kind == "square":
        return values_BSF.square()
    if kind == "positive":
        return values_BSF.relu()
    raise ValueError(f"{kind} is not made of activations alone")


def sums_by_task(
    values_BSF: Tensor,
    *,
    task_C: Tensor,
    real_BS: Tensor,
    sentence_S: Tensor | None,
    tasks: int,
) -> Tensor:
    """Sums of values over the real positions of each task: float64 [T, F].

    A row is a sentence, or there is one row and `sentence_S` says whose each position is.
    """
    with torch.autocast(values_BSF.device.type, enabled=False):
        if sentence_S is not None:
            task_T1 = torch.arange(tasks, device=task_C.device)[:, None]
            weight_TS = ((task_C[sentence_S] == task_T1) & real_BS[0]).to(torch.float32)
            return (weight_TS @ values_BSF[0]).to(torch.float64)
        weight_B1S = real_BS[:, None].to(torch.float32)
        sums_BF = torch.bmm(weight_B1S, values_BSF)[:, 0].to(torch.float64)
    sums_TF = sums_BF.new_zeros(tasks, sums_BF.shape[1])
    return sums_TF.index_add_(0, task_C, sums_BF)
