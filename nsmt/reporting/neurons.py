"""Pictures of neuron sets: overlap by layer and family, against depth, sparsity by layer.

After Neuron Specialization (arXiv 2404.11201), figures 1 and 2 and the sparsity figure: encoders
are compared across the directions into the pivot, decoders across those out of it. What is shown
was measured before (`nsmt.neurons.overlap`), of sets of the same directions and sites, as those of
several seeds are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from matplotlib.figure import Figure

from nsmt.languages import Direction, LanguageTable
from nsmt.neurons.overlap import Shares
from nsmt.neurons.sites import ENCODER, STACKS
from nsmt.reporting.figures import iou_by_depth, sparsity
from nsmt.reporting.heatmaps import LabelledMatrix, iou_heatmaps


def comparable(shares: Shares) -> bool:
    """Whether both stacks have at least two directions to compare."""
    return all(len(shares[stack].tasks) > 1 for stack in STACKS)


def overlap_heatmaps(found: Sequence[Shares], languages: LanguageTable, *, pivot: str) -> Figure:
    """One heat map a layer, languages ordered by family; the mean over what was found.

    A stack shows the languages that vary in it, which need not be the other stack's.
    """
    panels = {}
    for stack in STACKS:
        first, *_ = of_each = [shares[stack] for shares in found]
        rows = {Direction.parse(task).other(pivot): n for n, task in enumerate(first.tasks)}
        codes = [entry.code for entry in languages.by_family() if entry.code in rows]
        families = [languages[code].family for code in codes]
        order = [rows[code] for code in codes]
        for layer, site in enumerate(first.sites):
            side = f"X→{pivot}" if stack == ENCODER else f"{pivot}→X"
            mean_LL = torch.stack([each.iou[layer] for each in of_each]).mean(0)
            ordered_LL = mean_LL[order][:, order].numpy()
            title = f"{stack} layer {site.layer + 1} ({side})"
            panels[title] = LabelledMatrix(ordered_LL, codes, families)
    return iou_heatmaps(panels)


def overlap_by_depth(
    found: Sequence[Shares],
    *,
    pivot: str,
    published: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Pairwise overlap against depth, with the overlap of random sets of the same sizes.

    The pairs of all that was found. `published` are means by layer of a stack.
    """
    values, chance = {}, {}
    for stack in STACKS:
        of_each = [shares[stack] for shares in found]
        values[stack] = [
            [value for pairs in of_layer for value in pairs]
            for of_layer in zip(*(each.pairs for each in of_each), strict=True)
        ]
        chance[stack] = means([each.chance for each in of_each])
    return iou_by_depth(
        values["encoder"], values["decoder"], pivot=pivot, chance=chance, published=published
    )


def sparsity_by_layer(found: Sequence[Shares]) -> Figure:
    """The masked share of each layer, a line for each type of direction; the mean over all."""
    masked = {
        stack: {
            name: means([shares[stack].masked[name] for shares in found])
            for name in found[0][stack].masked
        }
        for stack in STACKS
    }
    return sparsity(masked["encoder"], masked["decoder"])


def means(of_each: Sequence[Sequence[float]]) -> list[float]:
    """The mean by layer of several lines."""
    return [fmean(of_layer) for of_layer in zip(*of_each, strict=True)]
