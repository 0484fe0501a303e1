"""Which neurons are a language's: pure functions from statistics to an atlas, one a rule.

`lape` is Language Activation Probability Entropy (arXiv 2402.16438, section 2.2) as released: a
neuron whose probability of being active is spread over few languages belongs to those of them in
which it is active often. All probabilities of the model make one distribution; its 95th percentile
is the bar that a neuron must pass in some language to be looked at, and in a language to be its
neuron. No layer has a quota, so neurons gather where the model keeps its languages.

The others are what LAPE is compared with: `lave` is the entropy of mean activations; `probability`
and `difference` take the highest of each language by itself; `covering` the fewest that make up a
share of a language's activations; `variation` those whose weights changed most; random sets are in
`nsmt.neurons.random_sets`.

Decisions: probabilities and entropies are float64 (float32 in the released code, whose choice among
neurons with equal entropies is left to the sorting), and entropies are equal if they are so to
twelve decimals, so that the order of languages, in which they are summed, decides no more than ties
that the twelfth parts; of equal neurons the one of the earlier site, then of the lower index, is
taken first.

Shape suffixes: N neurons of all sites one after the other, T languages, F neurons of a site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import cumulative
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics

PERCENTILE = 0.95


def lape(
    statistics: ActivationStatistics, *, rate: float, percentile: float = PERCENTILE
) -> NeuronAtlas:
    """The round(rate·N) neurons of the lowest entropy; a neuron may be of several languages."""
    probability_NT = joined(statistics.sites, probabilities(statistics))
    return _by_entropy(statistics, probability_NT, rate=rate, percentile=percentile, rule="lape")


def lave(
    statistics: ActivationStatistics, *, rate: float, percentile: float = PERCENTILE
) -> NeuronAtlas:
    """The same of mean activations, those below zero counting as zero, for probabilities."""
    mean_NT = joined(statistics.sites, means(statistics)).clamp(min=0)
    return _by_entropy(statistics, mean_NT, rate=rate, percentile=percentile, rule="lave")


def probability(statistics: ActivationStatistics, *, rate: float) -> NeuronAtlas:
    """For each language the round(rate·N) neurons that are active most often (LAP)."""
    scores_NT = joined(statistics.sites, probabilities(statistics))
    return _highest_of(statistics, scores_NT, rate=rate, rule="probability")


def covering(statistics: ActivationStatistics, *, percent: float) -> NeuronAtlas:
    """For each language and site the fewest neurons that are `percent` of its activations.

    The rule of Neuron Specialization for translation (arXiv 2404.11201, section 3.2), on the tokens
    on which a neuron is above zero.
    """
    return cumulative(statistics, lambda *_: percent)


def difference(statistics: ActivationStatistics, *, rate: float) -> NeuronAtlas:
    """For each language those whose mean is furthest above the mean of the others' means."""
    mean_NT = joined(statistics.sites, means(statistics))
    languages = mean_NT.shape[1]
    if languages < 2:
        raise AtlasError(
            "a language cannot be compared with others, as there are none",
            fix="gather statistics of two languages or more",
        )
    others_NT = (mean_NT.sum(1, keepdim=True) - mean_NT) / (languages - 1)
    scores_NT = mean_NT - others_NT
    return _highest_of(statistics, scores_NT, rate=rate, rule="difference")


def variation(
    before: Mapping[str, Tensor],
    after: Mapping[str, Mapping[str, Tensor]],
    sites: Sequence[Site],
    *,
    rate: float,
) -> NeuronAtlas:
    """For each language the neurons whose weights changed most when a model was tuned on it (PV).

    Weights are [F, ...] by site name, one row a neuron, and `after` has them for each language; the
    change of a neuron is the length of its row's difference, relative to its length before.
    """
    changes = {
        site.name: torch.stack(
            [_change(before[site.name], tuned[site.name]) for tuned in after.values()]
        )
        for site in sites
    }
    return highest(tuple(after), sites, joined(sites, changes), rate=rate, rule="variation")


def average_precision(scores_IF: Tensor, label_I: Tensor) -> Tensor:
    """How well each neuron's value tells instances that have a label from the rest: float64 [F].

    The functionality score of Configurable Foundation Models (arXiv 2409.02877, equation 1), where
    the value is the mean of abs(a) over the tokens of an instance: the mean, over the instances
    with the label, of the precision among all instances that score at least as high. Chance is the
    share of instances with the label.
    """
    if not bool(label_I.any()):
        raise AtlasError("no instance has the label", fix="choose a label that instances have")
    ordered_IF, order_IF = torch.sort(scores_IF, dim=0, descending=True, stable=True)
    hit_IF = label_I[order_IF].to(torch.float64)
    rank_I1 = torch.arange(1, len(label_I) + 1, dtype=torch.float64, device=scores_IF.device)
    precision_IF = hit_IF.cumsum(0) / rank_I1[:, None]
    # Equal scores are one step: all of them have the precision at the last of them.
    for row in range(len(label_I) - 2, -1, -1):
        same_F = ordered_IF[row] == ordered_IF[row + 1]
        precision_IF[row] = torch.where(same_F, precision_IF[row + 1], precision_IF[row])
    found_F: Tensor = (precision_IF * hit_IF).sum(0) / hit_IF.sum(0)
    return found_F


def probabilities(statistics: ActivationStatistics) -> dict[str, Tensor]:
    """The share of units at which each neuron is active in each task: float64 [T, F] by site."""
    return {
        name: counts_TF.cpu() / statistics.units[name].cpu().clamp(min=1).double()[:, None]
        for name, counts_TF in statistics.active.items()
    }


def means(statistics: ActivationStatistics) -> dict[str, Tensor]:
    """The mean activation of each neuron in each language: float64 [T, F] by site name."""
    return {site.name: statistics.mean("sum", site).cpu() for site in statistics.sites}


def joined(sites: Sequence[Site], tables: Mapping[str, Tensor]) -> Tensor:
    """[T, F] by site as one [N, T], site after site."""
    return torch.cat([tables[site.name] for site in sites], dim=1).T.contiguous()


def entropy(values_NT: Tensor) -> Tensor:
    """The entropy over languages of non-negative values, in nats: float64 [N]; 0 if all are 0."""
    total_N1 = values_NT.sum(1, keepdim=True)
    share_NT = torch.where(total_N1 > 0, values_NT / total_N1, 0.0)
    entropy_N: Tensor = torch.special.entr(share_NT).sum(1)
    return entropy_N


def specificity(atlas: NeuronAtlas, statistics: ActivationStatistics) -> dict[str, Tensor]:
    """Each neuron's place among those of any language: int64 [F] by site name.

    In the order of `lape`, the lowest entropy first; neurons of no language come after all others.
    """
    spread_N = entropy(joined(atlas.sites, probabilities(statistics))).round(decimals=12)
    member_N = torch.cat([atlas.masks(site).any(0) for site in atlas.sites])
    order_N = torch.sort(torch.where(member_N, spread_N, torch.inf), stable=True).indices
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = torch.arange(len(order_N))
    parts = torch.split(rank_N, [site.width for site in atlas.sites])
    return {site.name: part for site, part in zip(atlas.sites, parts, strict=True)}


def _highest_of(
    statistics: ActivationStatistics, scores_NT: Tensor, *, rate: float, rule: str
) -> NeuronAtlas:
    made_by = {"statistics": statistics.provenance}
    return highest(
        statistics.tasks, statistics.sites, scores_NT, rate=rate, rule=rule, provenance=made_by
    )


def highest(
    tasks: Sequence[str],
    sites: Sequence[Site],
    scores_NT: Tensor,
    *,
    rate: float,
    rule: str,
    provenance: Mapping[str, Any] | None = None,
) -> NeuronAtlas:
    """For each task the round(rate·N) neurons of the highest score."""
    count = _count(rate, len(scores_NT))
    chosen_NT = torch.zeros(scores_NT.shape, dtype=torch.bool)
    order_NT = torch.sort(scores_NT, dim=0, descending=True, stable=True).indices
    chosen_NT.scatter_(0, order_NT[:count], value=True)
    return _atlas(
        tasks, sites, chosen_NT, provenance={"rule": rule, "rate": rate, **(provenance or {})}
    )


def _by_entropy(
    statistics: ActivationStatistics,
    values_NT: Tensor,
    *,
    rate: float,
    percentile: float,
    rule: str,
) -> NeuronAtlas:
    flat = values_NT.flatten()
    rank = round(len(flat) * percentile)
    if not 1 <= rank <= len(flat):
        raise AtlasError(
            f"{percentile} of {len(flat)} values is none of them",
            fix="choose a percentile above 0, and no more than 1",
        )
    bar = flat.kthvalue(rank).values
    above_NT = values_NT > bar
    spread_N = torch.where(above_NT.any(1), entropy(values_NT).round(decimals=12), torch.inf)
    order_N = torch.sort(spread_N, stable=True).indices
    chosen_N = torch.zeros(len(values_NT), dtype=torch.bool)
    chosen_N[order_N[: _count(rate, len(values_NT))]] = True
    provenance = {
        "rule": rule,
        "rate": rate,
        "percentile": percentile,
        "bar": bar.item(),
        "statistics": statistics.provenance,
    }
    chosen_NT = above_NT & chosen_N[:, None]
    return _atlas(statistics.tasks, statistics.sites, chosen_NT, provenance=provenance)


def _count(rate: float, neurons: int) -> int:
    if not 0 <= rate <= 1:
        raise AtlasError(f"rate = {rate} is no share of neurons", fix="choose a rate from 0 to 1")
    return round(rate * neurons)


def _change(before: Tensor, after: Tensor) -> Tensor:
    before_FK, after_FK = before.double().flatten(1), after.double().flatten(1)
    change_F = torch.linalg.vector_norm(after_FK - before_FK, dim=1)
    relative_F: Tensor = change_F / torch.linalg.vector_norm(before_FK, dim=1).clamp(min=1e-12)
    return relative_F


def _atlas(
    tasks: Sequence[str], sites: Sequence[Site], chosen_NT: Tensor, *, provenance: dict[str, Any]
) -> NeuronAtlas:
    parts = torch.split(chosen_NT.T, [site.width for site in sites], dim=1)
    masks = {site.name: part for site, part in zip(sites, parts, strict=True)}
    return NeuronAtlas.from_masks(tasks, sites, masks, provenance=provenance)
