"""How much neuron sets share: intersection over union, by site and by pair of tasks.

Source: Neuron Specialization (arXiv 2404.11201), section 5.1. As there, encoders are compared
across directions into the pivot (the source language varies) and decoders across directions out of
it (the target language varies). Values are true shares in [0, 1]. Two empty sets are equal: their
overlap is 1.

Shape suffixes: T tasks, F neurons, S sets, R sets that they are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nsmt.languages import Direction
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import ENCODER, Site


def iou_matrix(masks_TF: Tensor) -> Tensor:
    """Pairwise intersection over union of boolean masks: float64 [T, T]."""
    return iou_between(masks_TF, masks_TF)


def iou_between(sets_SF: Tensor, others_RF: Tensor) -> Tensor:
    """Intersection over union of each boolean mask with each of the others: float64 [S, R]."""
    own_SF, other_RF = sets_SF.to(torch.float64), others_RF.to(torch.float64)
    both_SR = own_SF @ other_RF.T
    either_SR = own_SF.sum(-1)[:, None] + other_RF.sum(-1)[None] - both_SR
    return torch.where(either_SR > 0, both_SR / either_SR.clamp(min=1), 1.0)


def whole_iou(atlas: NeuronAtlas) -> Tensor:
    """The overlap of all tasks over the neurons of all sites together: float64 [T, T]."""
    return iou_matrix(torch.cat([atlas.masks(site) for site in atlas.sites], -1))


def site_iou(atlas: NeuronAtlas, tasks: Sequence[str], site: Site) -> Tensor:
    """The overlap of some tasks at one site: float64 [T, T] in the order of `tasks`."""
    return iou_matrix(atlas.select(tasks).masks(site))


def pair_values(matrix_TT: Tensor) -> Tensor:
    """The values above the diagonal: one a pair of tasks, float64 [T·(T-1)/2]."""
    rows, columns = matrix_TT.shape
    above = torch.triu_indices(rows, columns, offset=1)
    return matrix_TT[above[0], above[1]]


def chance_iou(atlas: NeuronAtlas, tasks: Sequence[str], site: Site) -> float:
    """The mean overlap of random sets with the sizes of those found.

    For kept shares p and q of the neurons it is pq / (p + q - pq), and 1 if both are empty.
    """
    kept_T = atlas.select(tasks).masks(site).double().mean(-1)
    both_TT = kept_T[:, None] * kept_T[None]
    either_TT = kept_T[:, None] + kept_T[None] - both_TT
    expected_TT = torch.where(either_TT > 0, both_TT / either_TT, 1.0)
    values = pair_values(expected_TT)
    return values.mean().item() if len(values) else float("nan")


def varying_tasks(tasks: Sequence[str], stack: str, *, pivot: str) -> list[str]:
    """The directions whose language varies on the side that `stack` handles."""
    side = "target" if stack == ENCODER else "source"
    return [task for task in tasks if getattr(Direction.parse(task), side) == pivot]
