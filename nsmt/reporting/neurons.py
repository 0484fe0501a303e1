"""Pictures of an atlas: overlap by layer and family, overlap against depth, sparsity by layer.

After Neuron Specialization (arXiv 2404.11201), figures 1 and 2 and the sparsity figure: encoders
are compared across the directions into the pivot, decoders across those out of it.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from nsmt.languages import Direction, LanguageTable
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import chance_iou, pair_values, site_iou, varying_tasks
from nsmt.neurons.sites import Site
from nsmt.reporting.figures import iou_by_depth, sparsity
from nsmt.reporting.heatmaps import iou_heatmaps

STACKS = ("encoder", "decoder")


def comparable(atlas: NeuronAtlas, *, pivot: str) -> bool:
    """Whether both stacks have at least two directions to compare."""
    return all(len(varying_tasks(atlas.tasks, stack, pivot=pivot)) > 1 for stack in STACKS)


def overlap_heatmaps(atlas: NeuronAtlas, languages: LanguageTable, *, pivot: str) -> Figure:
    """One heat map a layer, languages ordered by family."""
    ordered = [entry.code for entry in languages.by_family() if entry.code != pivot]
    matrices = {}
    for stack in STACKS:
        tasks = _by_language(atlas, stack, ordered, pivot=pivot)
        for site in atlas.stack(stack):
            title = f"{stack} layer {site.layer + 1} ({'X→' if stack == 'encoder' else ''}{pivot}"
            title += ")" if stack == "encoder" else "→X)"
            matrices[title] = site_iou(atlas, tasks, site).numpy()
    families = [languages[code].family for code in ordered]
    return iou_heatmaps(matrices, ordered, families)


def overlap_by_depth(atlas: NeuronAtlas, *, pivot: str) -> Figure:
    """Pairwise overlap against depth, with the overlap of random sets of the same sizes."""
    values, chance = {}, {}
    for stack in STACKS:
        tasks = varying_tasks(atlas.tasks, stack, pivot=pivot)
        sites = atlas.stack(stack)
        values[stack] = [pair_values(site_iou(atlas, tasks, site)).tolist() for site in sites]
        chance[stack] = [chance_iou(atlas, tasks, site) for site in sites]
    return iou_by_depth(
        values["encoder"],
        values["decoder"],
        pivot=pivot,
        chance=chance,
    )


def sparsity_by_layer(atlas: NeuronAtlas, *, pivot: str) -> Figure:
    """The masked share of each layer, a line for each type of direction."""
    directions = [Direction.parse(task) for task in atlas.tasks]
    types = {
        f"{pivot}→X": [str(each) for each in directions if each.source == pivot],
        f"X→{pivot}": [str(each) for each in directions if each.target == pivot],
        "zero-shot": [str(each) for each in directions if pivot not in (each.source, each.target)],
    }
    shares = {
        stack: {
            name: [_masked(atlas, tasks, site) for site in atlas.stack(stack)]
            for name, tasks in types.items()
            if tasks
        }
        for stack in STACKS
    }
    return sparsity(shares["encoder"], shares["decoder"])


def _masked(atlas: NeuronAtlas, tasks: list[str], site: Site) -> float:
    return 1 - atlas.select(tasks).masks(site).double().mean().item()


def _by_language(atlas: NeuronAtlas, stack: str, languages: list[str], *, pivot: str) -> list[str]:
    tasks = varying_tasks(atlas.tasks, stack, pivot=pivot)
    named = {Direction.parse(task).other(pivot): task for task in tasks}
    return [named[code] for code in languages if code in named]
