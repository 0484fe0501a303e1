"""One budget of neurons for a whole stack, spread over its layers by what fires.

The cumulative rule asks for k percent of the activations at each site by itself, so that a layer
whose activations are spread keeps many neurons and one whose activations are few keeps few. Here
a stack keeps as many neurons as that rule would, and they are those that fire most, wherever they
are: both sets are of one size, and differ in their layers alone.
"""

from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.neurons.statistics import ActivationStatistics


def layer_budget(
    statistics: ActivationStatistics, settings: SelectionSettings, *, pivot: str
) -> NeuronAtlas:
    """As many neurons in each stack as `select` takes, the most active ones of all its layers.

    Of neurons with equal counts, the one of the lower layer and index is taken first.
    """
    like = select(statistics, settings, pivot=pivot)
    masks: dict[str, Tensor] = {}
    for _, stack in groupby(statistics.sites, key=lambda site: site.stack):
        sites = list(stack)
        counts_TF = torch.cat([statistics.active[site.name].cpu() for site in sites], dim=-1)
        budget_T = sum(like.masks(site).sum(-1) for site in sites)
        chosen_TF = _most_active(counts_TF, torch.as_tensor(budget_T))
        parts = torch.split(chosen_TF, [site.width for site in sites], dim=-1)
        masks |= {site.name: part for site, part in zip(sites, parts, strict=True)}
    return NeuronAtlas.from_masks(
        statistics.tasks,
        statistics.sites,
        masks,
        provenance=like.provenance | {"rule": "layer_budget"},
    )


def _most_active(counts_TF: Tensor, budget_T: Tensor) -> Tensor:
    """The `budget` largest counts of each row: bool [T, F]."""
    order_TF = torch.argsort(counts_TF, dim=-1, descending=True, stable=True)
    within_F = torch.arange(counts_TF.shape[-1])
    chosen_TF = within_F[None] < budget_T[:, None]
    return torch.zeros_like(chosen_TF).scatter_(-1, order_TF, chosen_TF)
