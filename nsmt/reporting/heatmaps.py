"""Heat maps of square matrices of languages or directions, ordered by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from nsmt.languages import family_order
from nsmt.reporting.figures import Matrix, make_panels, styled

_LABEL_LIMIT: Final = 40


class LabelledMatrix(NamedTuple):
    """A [T, T] array, the label of each row and column, and the family of each label."""

    values: Matrix
    labels: Sequence[str]
    families: Sequence[str]


@styled
def iou_heatmaps(panels: Mapping[str, LabelledMatrix]) -> Figure:
    """One panel a layer of pairwise IoU, tasks ordered by family with lines between families.

    Panels, by title, need not be of the same tasks. The colour scale runs from 0 to 1 and is the
    same in all panels.
    """
    figure, _ = _heatmaps(panels, colours="viridis", ends=(0, 1), meaning="IoU of neuron sets")
    return figure


@styled
def direction_heatmaps(
    matrices: Mapping[str, Matrix],
    labels: Sequence[str],
    families: Sequence[str],
    *,
    meaning: str,
    scale: tuple[float, float] | None = None,
) -> Figure:
    """One panel a system: a value by source language (row) and target language (column).

    `matrices` maps a panel's title to a [T, T] array in the order of `labels`, NaN where there is
    no value; `families` names the family of each label. All panels have one colour scale, from the
    smallest to the largest value unless `scale` is given; `meaning` labels it.
    """
    if scale is None:
        known = np.concatenate([each[~np.isnan(each)] for each in matrices.values()])
        scale = (float(known.min()), float(known.max()))
    panels = _alike(matrices, labels, families)
    figure, drawn = _heatmaps(panels, colours="viridis", ends=scale, meaning=meaning)
    for axes in drawn:
        axes.set(xlabel="into", ylabel="from")
    return figure


@styled
def signed_heatmaps(
    matrices: Mapping[str, Matrix], labels: Sequence[str], families: Sequence[str], *, meaning: str
) -> Figure:
    """The same for values of both signs; not-a-number is left blank.

    One colour scale about 0 for all panels, as wide as the largest value off the diagonals.
    """
    apart = [np.asarray(each, float)[~np.eye(len(each), dtype=bool)] for each in matrices.values()]
    end = float(np.nan_to_num(np.abs(np.concatenate(apart))).max(initial=0)) or 1.0
    panels = _alike(matrices, labels, families)
    figure, _ = _heatmaps(panels, colours="RdBu_r", ends=(-end, end), meaning=meaning)
    return figure


def _alike(
    matrices: Mapping[str, Matrix], labels: Sequence[str], families: Sequence[str]
) -> dict[str, LabelledMatrix]:
    return {title: LabelledMatrix(each, labels, families) for title, each in matrices.items()}


def _heatmaps(
    panels: Mapping[str, LabelledMatrix], *, colours: str, ends: tuple[float, float], meaning: str
) -> tuple[Figure, list[Axes]]:
    """Square matrices ordered by family, on one colour scale."""
    figure, drawn = make_panels(len(panels), width=3.9, height=3.8)
    image: AxesImage | None = None
    for axes, (title, (values, labels, families)) in zip(drawn, panels.items(), strict=True):
        order = family_order(families)
        ordered = np.asarray(values, float)[np.ix_(order, order)]
        image = axes.imshow(ordered, cmap=colours, vmin=ends[0], vmax=ends[1], interpolation="none")
        axes.set_title(title)
        _mark_families(
            axes, [labels[place] for place in order], [families[place] for place in order]
        )
    if image is not None:
        bar = figure.colorbar(image, ax=drawn, shrink=0.8, aspect=35, pad=0.015)
        bar.set_label(meaning)
        bar.outline.set_visible(False)
    return figure, drawn


def _mark_families(axes: Axes, names: Sequence[str], families: Sequence[str]) -> None:
    count = len(names)
    size = 9.0 if count <= _LABEL_LIMIT // 2 else 6.0
    shown = range(count) if count <= _LABEL_LIMIT else range(0, count, count // _LABEL_LIMIT + 1)
    axes.set_xticks(shown, [names[place] for place in shown], rotation=90, fontsize=size)
    axes.set_yticks(shown, [names[place] for place in shown], fontsize=size)
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)
    edges = [place for place in range(1, count) if families[place] != families[place - 1]]
    for edge in edges:
        axes.axhline(edge - 0.5, color="white", linewidth=1.4)
        axes.axvline(edge - 0.5, color="white", linewidth=1.4)
