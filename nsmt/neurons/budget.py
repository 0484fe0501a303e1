"""One budget of neurons for a whole model, or for each stack, spread over its layers by what fires.

The cumulative rule asks for k percent of the activations at each site by itself, so that a layer
whose activations are spread keeps many neurons and one whose activations are few keeps few. Here
a model keeps as many neurons as that rule would, and they are those that fire most, wherever they
are: both sets are of one size, and differ in their layers alone. The encoder sees other tokens than
the decoder, so what is compared is the share of them at which a neuron fires.

Shape suffixes: T tasks, F neurons of all sites that have one budget.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.language_rules import probabilities
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics

# What has one budget: all layers of the model, or those of each stack.
Budget = Literal["model", "stack"]


def layer_budget(
    statistics: ActivationStatistics,
    settings: SelectionSettings,
    *,
    pivot: str,
    budget: Budget = "model",
) -> NeuronAtlas:
    """As many neurons as `select` takes in what has one budget, the most active of all its layers.

    Of neurons that fire as often, the one of the earlier site and lower index is taken first.
    """
    like = select(statistics, settings, pivot=pivot)
    masks: dict[str, Tensor] = {}
    rates = probabilities(statistics)
    together: dict[str, list[Site]] = {}
    for site in statistics.sites:
        together.setdefault(site.stack if budget == "stack" else "", []).append(site)
    for sites in together.values():
        rates_TF = torch.cat([rates[site.name] for site in sites], dim=-1)
        budget_T = sum(like.masks(site).sum(-1) for site in sites)
        chosen_TF = _most_active(rates_TF, torch.as_tensor(budget_T))
        parts = torch.split(chosen_TF, [site.width for site in sites], dim=-1)
        masks |= {site.name: part for site, part in zip(sites, parts, strict=True)}
    return NeuronAtlas.from_masks(
        statistics.tasks,
        statistics.sites,
        masks,
        provenance=like.provenance | {"rule": "layer_budget", "budget": budget},
    )


def _most_active(rates_TF: Tensor, budget_T: Tensor) -> Tensor:
    """The `budget` largest rates of each row: bool [T, F]."""
    order_TF = torch.argsort(rates_TF, dim=-1, descending=True, stable=True)
    within_F = torch.arange(rates_TF.shape[-1])
    chosen_TF = within_F[None] < budget_T[:, None]
    return torch.zeros_like(chosen_TF).scatter_(-1, order_TF, chosen_TF)
