"""Pictures of an atlas: overlap by layer and family, overlap against depth, sparsity by layer.

After Neuron Specialization (arXiv 2404.11201), figures 1 and 2 and the sparsity figure: encoders
are compared across the directions into the pivot, decoders across those out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from matplotlib.figure import Figure

from nsmt.languages import Direction, LanguageTable
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import chance_iou, pair_values, site_iou, varying_tasks
from nsmt.neurons.sites import STACKS, Site
from nsmt.reporting.figures import iou_by_depth, sparsity
from nsmt.reporting.heatmaps import LabelledMatrix, iou_heatmaps


def comparable(atlas: NeuronAtlas, *, pivot: str) -> bool:
    """Whether both stacks have at least two directions to compare."""
    return all(len(varying_tasks(atlas.tasks, stack, pivot=pivot)) > 1 for stack in STACKS)


def overlap_heatmaps(
    atlas: NeuronAtlas | Sequence[NeuronAtlas], languages: LanguageTable, *, pivot: str
) -> Figure:
    """One heat map a layer, languages ordered by family; the mean over several atlases.

    A stack shows the languages that vary in it, which need not be the other stack's.
    """
    first, *_ = atlases = _several(atlas)
    panels = {}
    for stack in STACKS:
        named = {
            Direction.parse(task).other(pivot): task
            for task in varying_tasks(first.tasks, stack, pivot=pivot)
        }
        codes = [entry.code for entry in languages.by_family() if entry.code in named]
        families = [languages[code].family for code in codes]
        tasks = [named[code] for code in codes]
        for site in first.stack(stack):
            title = f"{stack} layer {site.layer + 1} ({'X→' if stack == 'encoder' else ''}{pivot}"
            title += ")" if stack == "encoder" else "→X)"
            found = [site_iou(each, tasks, site) for each in atlases]
            mean_LL = torch.stack(found).mean(0).numpy()
            panels[title] = LabelledMatrix(mean_LL, codes, families)
    return iou_heatmaps(panels)


def overlap_by_depth(
    atlas: NeuronAtlas | Sequence[NeuronAtlas],
    *,
    pivot: str,
    published: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Pairwise overlap against depth, with the overlap of random sets of the same sizes.

    Of several atlases, the pairs of all. `published` are means by layer of a stack.
    """
    atlases = _several(atlas)
    values, chance = {}, {}
    for stack in STACKS:
        of_each = [pair_overlap(each, stack, pivot=pivot) for each in atlases]
        values[stack] = [
            [v for of_atlas in of_layer for v in of_atlas]
            for of_layer in zip(*of_each, strict=True)
        ]
        chance[stack] = means([chance_overlap(each, stack, pivot=pivot) for each in atlases])
    return iou_by_depth(
        values["encoder"], values["decoder"], pivot=pivot, chance=chance, published=published
    )


def pair_overlap(atlas: NeuronAtlas, stack: str, *, pivot: str) -> list[list[float]]:
    """By layer, the overlap of each pair of directions whose language varies on that side."""
    tasks = varying_tasks(atlas.tasks, stack, pivot=pivot)
    return [pair_values(site_iou(atlas, tasks, site)).tolist() for site in atlas.stack(stack)]


def chance_overlap(atlas: NeuronAtlas, stack: str, *, pivot: str) -> list[float]:
    """By layer, the mean overlap that random sets of the same sizes have."""
    tasks = varying_tasks(atlas.tasks, stack, pivot=pivot)
    return [chance_iou(atlas, tasks, site) for site in atlas.stack(stack)]


def sparsity_by_layer(atlas: NeuronAtlas | Sequence[NeuronAtlas], *, pivot: str) -> Figure:
    """The masked share of each layer, a line for each type of direction; the mean over atlases."""
    found = [
        {stack: masked_by_layer(each, stack, pivot=pivot) for stack in STACKS}
        for each in _several(atlas)
    ]
    shares = {
        stack: {name: means([each[stack][name] for each in found]) for name in found[0][stack]}
        for stack in STACKS
    }
    return sparsity(shares["encoder"], shares["decoder"])


def masked_by_layer(atlas: NeuronAtlas, stack: str, *, pivot: str) -> dict[str, list[float]]:
    """The masked share of each layer, by type of direction; types without any are left out."""
    directions = [Direction.parse(task) for task in atlas.tasks]
    types = {
        f"{pivot}→X": [str(each) for each in directions if each.source == pivot],
        f"X→{pivot}": [str(each) for each in directions if each.target == pivot],
        "zero-shot": [str(each) for each in directions if pivot not in (each.source, each.target)],
    }
    return {
        name: [_masked(atlas, tasks, site) for site in atlas.stack(stack)]
        for name, tasks in types.items()
        if tasks
    }


def means(of_each: Sequence[Sequence[float]]) -> list[float]:
    """The mean by layer of several atlases' values."""
    return [fmean(of_layer) for of_layer in zip(*of_each, strict=True)]


def masked_share(atlas: NeuronAtlas) -> float:
    """The share of masked neurons over all tasks and sites."""
    return fmean(_masked(atlas, list(atlas.tasks), site) for site in atlas.sites)


def _several(atlas: NeuronAtlas | Sequence[NeuronAtlas]) -> list[NeuronAtlas]:
    """Atlases of the same tasks and sites, as those of several seeds are."""
    return [atlas] if isinstance(atlas, NeuronAtlas) else list(atlas)


def _masked(atlas: NeuronAtlas, tasks: list[str], site: Site) -> float:
    return 1 - atlas.select(tasks).masks(site).double().mean().item()
