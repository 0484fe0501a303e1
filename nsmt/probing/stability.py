"""How much of a neuron set is chance: the overlap of sets from halves and from resampled text.

Halves are dealt by a hash of the pivot's side, so that they have no text of the pivot in common;
replicas are a bootstrap over sentences (`nsmt.probing.replicas`). Every number is the overlap
(IoU): of one half's sets with the other's, of a replica's sets with those of the whole.

Shape suffixes: R replicas, N sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nsmt.data.corpus import TokenTable
from nsmt.evaluation.significance import CONFIDENCE
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.neurons.overlap import iou_between
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import CountRule
from nsmt.probing.replicas import (
    WeightedCounts,
    poisson_weights,
    replica_sets,
    weighted_counts,
)
from nsmt.probing.settings import StabilitySettings

# k of a direction and site.
Percents = Mapping[str, Callable[[str, Site], float]]
# The first replicas: everything, and the two halves.
_WHOLE, _HALVES, _FIRST = 0, (1, 2), 3


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Of one direction and site: the halves' overlap, None if one is empty, and replicas' [R]."""

    halves: float | None
    replicas_R: Tensor


def weights_of(halves_N: np.ndarray, poisson_RN: Tensor) -> Tensor:
    """The weights of the whole set, of its halves and of all replicas: int64 [3 + R, N]."""
    first_N = torch.from_numpy(halves_N)
    rows = torch.stack((torch.ones_like(first_N), first_N, ~first_N)).to(torch.int64)
    return torch.cat((rows, poisson_RN))


def overlaps(counts: WeightedCounts, site: Site, percent: float, weights_RN: Tensor) -> Overlaps:
    """What the sets of one k have in common."""
    sets_RF = replica_sets(counts, site, percent)
    one_RF, other_RF = (sets_RF[row : row + 1] for row in _HALVES)
    empty = not all(weights_RN[row].any() for row in _HALVES)
    halves = None if empty else iou_between(one_RF, other_RF).item()
    return Overlaps(halves, iou_between(sets_RF[_FIRST:], sets_RF[_WHOLE, None])[:, 0])


def stability(
    trained: TrainedModel,
    tables: Mapping[Direction, TokenTable],
    places: Mapping[Direction, np.ndarray],
    percents: Percents,
    settings: StabilitySettings,
    *,
    rule: CountRule,
    tokens: int,
    device: torch.device | str = "cpu",
    advance: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Plain data by k and layer: over all directions, and of each.

    `places` are numbers in [0, 1) a sentence; those below a half are the first half. `advance` is
    called after each direction.
    """
    found: dict[str, dict[str, dict[str, Overlaps]]] = {
        name: {site.name: {} for site in trained.model.sites} for name in percents
    }
    for direction, table in tables.items():
        drawn = poisson_weights(
            direction, len(table), replicas=settings.replicas, seed=settings.seed
        )
        weights_RN = weights_of(places[direction] < 0.5, drawn)
        counts = weighted_counts(
            trained, direction, table, weights_RN, rule=rule, tokens=tokens, device=device
        )
        for name, percent in percents.items():
            for site in trained.model.sites:
                found[name][site.name][str(direction)] = overlaps(
                    counts, site, percent(str(direction), site), weights_RN
                )
        advance()
    return {
        name: {site: _summary(of_direction) for site, of_direction in of_site.items()}
        for name, of_site in found.items()
    }


def _summary(of_direction: Mapping[str, Overlaps]) -> dict[str, Any]:
    halves = [each.halves for each in of_direction.values() if each.halves is not None]
    # A replica of all directions is one of each.
    means_R = torch.stack([each.replicas_R for each in of_direction.values()]).mean(0)
    return {
        "halves": float(np.mean(halves)) if halves else None,
        "replicas": _interval(means_R),
        "directions": {
            name: {"halves": each.halves, "replicas": _interval(each.replicas_R)}
            for name, each in of_direction.items()
        },
    }


def _interval(values_R: Tensor) -> dict[str, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values_R.numpy(), [tail, 1 - tail])
    return {"mean": values_R.mean().item(), "low": float(low), "high": float(high)}
