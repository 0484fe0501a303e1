"""Neuron sets of languages instead of directions, and of directions that nobody measured.

Each English-centric direction has a mask of its own at every site, so that an unseen direction X→Y
has none. Two ways out: the encoder's sets of X→pivot with the decoder's of pivot→Y, as the merging
script that the paper's code inherits from LaSS does (`merged`); or sets that belong to the source
language in the encoder and to the target language in the decoder (`factorised`), which share what
the directions of a language count, and cover all n(n-1) directions with 2n masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nsmt.languages import Direction, Halves
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import ENCODER, SelectionSettings, smallest_prefix
from nsmt.neurons.sites import Site
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
        site.name: {
            language: _of_language(statistics, settings, language, site, pivot=pivot)
            for language in _languages(statistics, site)
        }
        for site in statistics.sites
    }
    return _looked_up(
        directions,
        statistics.sites,
        lambda direction, site: sets[site.name][_side(direction, site)],
        provenance={
            "rule": "factorised",
            "statistics": statistics.provenance,
            "selection": settings.model_dump(mode="json"),
            "pivot": pivot,
        },
    )


def _side(direction: Direction, site: Site) -> str:
    return direction.source if site.stack == ENCODER else direction.target


def _languages(statistics: ActivationStatistics, site: Site) -> list[str]:
    return list(dict.fromkeys(_side(Direction.parse(task), site) for task in statistics.tasks))


def _of_language(
    statistics: ActivationStatistics,
    settings: SelectionSettings,
    language: str,
    site: Site,
    *,
    pivot: str,
) -> Tensor:
    tasks = [task for task in statistics.tasks if _side(Direction.parse(task), site) == language]
    rows = torch.tensor([statistics.tasks.index(task) for task in tasks])
    counts_F = statistics.active[site.name].cpu()[rows].sum(0)
    # k is the same for all directions that read, or write, a language.
    percent = settings.percent(tasks[0], site, pivot=pivot)
    return smallest_prefix(counts_F[None], [percent])[0]


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
