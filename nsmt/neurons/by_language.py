"""Neuron sets of languages instead of directions, and of directions that nobody measured.

Each English-centric direction has a mask of its own at every site, so that an unseen direction X→Y
has none. Two ways out: the encoder's sets of X→pivot with the decoder's of pivot→Y, as the merging
script that the paper's code inherits from LaSS does (`merged`); or sets that belong to the source
language in the encoder and to the target language in the decoder (`factorised`), which share what
the directions of a language count, and cover all n(n-1) directions with 2n masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from nsmt.languages import Direction, Halves
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings, cumulative
from nsmt.neurons.sites import ENCODER, Site, language_of
from nsmt.neurons.stack_languages import languages_of_stack
from nsmt.neurons.statistics import ActivationStatistics


def merged(atlas: NeuronAtlas, directions: Sequence[Direction], *, pivot: str) -> NeuronAtlas:
    """The sets of `directions`: their own, or else X→pivot's encoder and pivot→Y's decoder."""

    trained = {Direction.parse(task) for task in atlas.tasks}

    def mask_of(direction: Direction, site: Site) -> Tensor:
        halves = Halves.of(direction, trained, pivot=pivot)
        half = halves.encoder if site.stack == ENCODER else halves.decoder
        return atlas.mask(str(half), site)

    return _looked_up(
        directions,
        atlas.sites,
        mask_of,
        provenance={"operation": "merged", "pivot": pivot, "of": atlas.provenance},
    )


def factorised(
    statistics: ActivationStatistics,
    settings: SelectionSettings,
    directions: Sequence[Direction],
    *,
    pivot: str,
) -> NeuronAtlas:
    """The sets of the source language in the encoder and of the target language in the decoder.

    Those of a language are the cumulative rule's on the counts of all directions that read it, or
    write it, together: every direction counts by what it fired, as in one pass over all of them.
    """
    sets = {
        stack: cumulative(
            languages_of_stack(statistics, stack), partial(settings.percent_in, pivot=pivot)
        )
        for stack in dict.fromkeys(site.stack for site in statistics.sites)
    }
    return _looked_up(
        directions,
        statistics.sites,
        lambda direction, site: sets[site.stack].mask(language_of(direction, site.stack), site),
        provenance={
            "rule": "factorised",
            "statistics": statistics.provenance,
            "selection": settings.model_dump(mode="json"),
            "pivot": pivot,
        },
    )


def _looked_up(
    directions: Sequence[Direction],
    sites: Sequence[Site],
    mask_of: Callable[[Direction, Site], Tensor],
    *,
    provenance: dict[str, object],
) -> NeuronAtlas:
    masks = {
        site.name: torch.stack([mask_of(direction, site) for direction in directions])
        for site in sites
    }
    tasks = [str(direction) for direction in directions]
    return NeuronAtlas.from_masks(tasks, sites, masks, provenance=provenance)
