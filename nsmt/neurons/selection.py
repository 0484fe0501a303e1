"""From statistics to neuron sets: pure functions, one a rule.

`cumulative` is the rule of Neuron Specialization (arXiv 2404.11201, section 3.2, equation 3): for a
task and site, the smallest set of most active neurons whose counts reach k percent of all counts.

Decisions where the paper and its code leave a choice:

- comparisons are exact in integers (the released code compares in float32, which may take a neuron
  more or less, and is off by more once a total passes 2^24);
- of neurons with equal counts, the one with the lower index is taken first;
- k = 0 and a site that never fired select nothing; k = 100 selects every neuron that ever fired.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.languages import Direction
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import ENCODER, Site, language_of
from nsmt.neurons.statistics import ActivationStatistics, CountRule, CountUnit
from nsmt.neurons.widths import wide
from nsmt.settings import Settings

Percent = Annotated[float, Field(ge=0, le=100, description="percent of the activations to cover")]


class StackPercent(Settings):
    """k by stack; None takes the common `k`."""

    encoder: Percent | None = None
    decoder: Percent | None = None


class SelectionSettings(Settings):
    """What is counted, the rule and its k.

    k may differ for {pivot→X, X→pivot} x {encoder, decoder}, as in the released code.
    """

    rule: Literal["cumulative"] = "cumulative"
    count_unit: CountUnit = "token"
    count_padding: bool = Field(
        default=False, description="count what padding computes too, as the released code does"
    )
    k: Percent = 95.0
    from_pivot: StackPercent = StackPercent()
    into_pivot: StackPercent = StackPercent()

    @property
    def count_rule(self) -> CountRule:
        """What one count is."""
        return CountRule(self.count_unit, self.count_padding)

    def percent(self, task: str, site: Site, *, pivot: str) -> float:
        """The k of one direction and site."""
        return self.percent_in(language_of(Direction.parse(task), site.stack), site, pivot=pivot)

    def percent_in(self, language: str, site: Site, *, pivot: str) -> float:
        """The k of all directions that read, or write, a language.

        A direction without the pivot reads with the encoder of X→pivot and writes with the
        decoder of pivot→Y, so that is where its k comes from.
        """
        encoder = site.stack == ENCODER
        group = self.from_pivot if (language == pivot) == encoder else self.into_pivot
        own = group.encoder if encoder else group.decoder
        return self.k if own is None else own


def smallest_prefix(counts_TF: Tensor, percent_T: list[float]) -> Tensor:
    """Mark the smallest set of largest counts that reaches `percent` of each row's sum.

    `counts_TF` is a non-negative int64 tensor; returns bool [T, F].
    """
    if counts_TF.dtype != torch.int64 or bool((counts_TF < 0).any()):
        raise AtlasError("counts must be non-negative int64", fix="pass activation counts")
    counts_TF = counts_TF.cpu()
    ordered_TF, order_TF = torch.sort(counts_TF, dim=-1, descending=True, stable=True)
    reached_TF = ordered_TF.cumsum(-1)
    totals = counts_TF.sum(-1).tolist()
    targets = [_ceil_share(*pair) for pair in zip(totals, percent_T, strict=True)]
    # A neuron is still needed while the ones before it have not reached the target.
    before_TF = reached_TF - ordered_TF
    needed_TF = before_TF < torch.tensor(targets, dtype=torch.int64)[:, None]
    return torch.zeros_like(needed_TF).scatter_(-1, order_TF, needed_TF)


def cumulative(
    statistics: ActivationStatistics,
    percent: Callable[[str, Site], float],
    *,
    provenance: dict[str, Any] | None = None,
) -> NeuronAtlas:
    """Select by cumulative activation; `percent` gives k for a task and site, in [0, 100]."""
    masks = {}
    for site in statistics.sites:
        percents = [percent(task, site) for task in statistics.tasks]
        masks[site.name] = smallest_prefix(wide(statistics.active[site.name]), percents)
    return NeuronAtlas.from_masks(
        statistics.tasks,
        statistics.sites,
        masks,
        provenance={"rule": "cumulative", "statistics": statistics.provenance} | (provenance or {}),
    )


def select(
    statistics: ActivationStatistics, settings: SelectionSettings, *, pivot: str
) -> NeuronAtlas:
    """Apply the configured rule."""
    return cumulative(
        statistics,
        lambda task, site: settings.percent(task, site, pivot=pivot),
        provenance={"selection": settings.model_dump(mode="json"), "pivot": pivot},
    )


def loosened(settings: SelectionSettings, *, share: float) -> SelectionSettings:
    """The settings with every k, in percent, moved to 100 - share·(100 - k); `share` in [0, 1]."""

    def moved(percent: float) -> float:
        # As a person would write it: sums of floats must not decide about a neuron.
        return round(100 - share * (100 - percent), 6)

    def stacks(group: StackPercent) -> StackPercent:
        own = {name: moved(k) for name, k in group.model_dump(exclude_none=True).items()}
        return StackPercent(**own)

    return settings.model_copy(
        update={
            "k": moved(settings.k),
            "from_pivot": stacks(settings.from_pivot),
            "into_pivot": stacks(settings.into_pivot),
        }
    )


def keep_all(atlas: NeuronAtlas, *, except_in: str) -> NeuronAtlas:
    """The same sets in one stack, and every neuron everywhere else."""
    masks = {}
    for site in atlas.sites:
        own_TF = atlas.masks(site)
        masks[site.name] = own_TF if site.stack == except_in else torch.ones_like(own_TF)
    provenance = atlas.provenance | {"only": except_in}
    return NeuronAtlas.from_masks(atlas.tasks, atlas.sites, masks, provenance=provenance)


def _ceil_share(total: int, percent: float) -> int:
    if not 0 <= percent <= 100:
        raise AtlasError(f"k = {percent} is not a percentage", fix="choose k from 0 to 100")
    # Through the decimal text: 97.3 means 973/1000, not the nearest binary fraction.
    exact = Fraction(str(percent)) * total / 100
    return -(-exact.numerator // exact.denominator)
