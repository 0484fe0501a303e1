"""How much neuron sets share: intersection over union, by site and by pair of tasks.

Source: Neuron Specialization (arXiv 2404.11201), section 5.1. As there, encoders are compared
across directions into the pivot (the source language varies) and decoders across directions out of
it (the target language varies). Values are true shares in [0, 1]. Two empty sets are equal: their
overlap is 1.

Shape suffixes: T tasks, F neurons, S sets, R sets that they are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from nsmt.languages import Direction
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import cumulative
from nsmt.neurons.sites import ENCODER, STACKS, Site
from nsmt.neurons.statistics import ActivationStatistics


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


@dataclass(frozen=True, slots=True)
class StackShares:
    """What the sets of one stack share and leave out, layer by layer.

    Of `tasks`, the directions whose language varies in the stack: `iou`, float64 [T, T] a site, and
    the mean overlap that random sets of the same sizes have by `chance`. `masked` is the share of
    neurons that directions may not use, by their type; types without any are left out.
    """

    tasks: tuple[str, ...]
    sites: tuple[Site, ...]
    iou: tuple[Tensor, ...]
    chance: tuple[float, ...]
    masked: Mapping[str, tuple[float, ...]]

    @property
    def pairs(self) -> list[list[float]]:
        """By layer, the overlap of each pair of directions."""
        return [pair_values(iou_TT).tolist() for iou_TT in self.iou]


# By stack.
Shares = Mapping[str, StackShares]


def shares(atlas: NeuronAtlas, *, pivot: str) -> Shares:
    """What is shared and left out in both stacks."""
    return {stack: _of_stack(atlas, stack, pivot=pivot) for stack in STACKS}


def shares_at(statistics: Sequence[ActivationStatistics], k: float, *, pivot: str) -> list[Shares]:
    """The same for the sets that the cumulative rule finds at one k, of each statistics."""
    atlases = (cumulative(each, lambda task, site: k) for each in statistics)  # noqa: ARG005
    return [shares(atlas, pivot=pivot) for atlas in atlases]


def _of_stack(atlas: NeuronAtlas, stack: str, *, pivot: str) -> StackShares:
    tasks, sites = varying_tasks(atlas.tasks, stack, pivot=pivot), atlas.stack(stack)
    directions = [Direction.parse(task) for task in atlas.tasks]
    types = {
        f"{pivot}→X": [str(each) for each in directions if each.source == pivot],
        f"X→{pivot}": [str(each) for each in directions if each.target == pivot],
        "zero-shot": [str(each) for each in directions if pivot not in (each.source, each.target)],
    }
    return StackShares(
        tasks=tuple(tasks),
        sites=sites,
        iou=tuple(site_iou(atlas, tasks, site) for site in sites),
        chance=tuple(chance_iou(atlas, tasks, site) for site in sites),
        masked={
            name: tuple(_masked(atlas, own, site) for site in sites)
            for name, own in types.items()
            if own
        },
    )


def masked_share(atlas: NeuronAtlas) -> float:
    """The share of masked neurons over all tasks and sites."""
    return fmean(_masked(atlas, atlas.tasks, site) for site in atlas.sites)


def _masked(atlas: NeuronAtlas, tasks: Sequence[str], site: Site) -> float:
    return 1 - atlas.select(tasks).masks(site).double().mean().item()
