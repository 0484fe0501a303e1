"""Figures: overlap of neuron sets, sparsity by layer, and training curves.

These are Figures 1 and 2 of Neuron Specialization and what a run needs beside them. Three
deviations: colours show the IoU itself, on one scale for all panels (the published notebook
shows a power of it, rescaled column by column and clipped); rows are labelled by the data and
never from a second list (which swapped Amharic and Hausa there); and where it is known, the
overlap of random sets of the same size is drawn, without which an IoU says little.

Nothing here touches pyplot or global settings, and files carry no dates or random identifiers:
the same numbers give the same bytes.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's palette, told apart in all common forms of colour blindness.
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5CA8")
INK: Final = "#1f2328"
MUTED: Final = "#8b929a"
_STYLE: Final[dict[Any, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.0,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "grid.color": MUTED,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "nsmt",
}
_PNG_DPI: Final = 200
_PANELS_A_ROW: Final = 3
# Labels of an axis at most.
_TICKS: Final = 15
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: Final = ("-", "--", "-.", ":")

Matrix = npt.NDArray[np.floating[Any]]
Arguments = ParamSpec("Arguments")


@dataclass(frozen=True, slots=True)
class Curve:
    """One stage of training: values against update."""

    updates: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class SpreadCurve:
    """Means with deviations, at places in a list of swept values."""

    places: list[int]
    means: list[float]
    deviations: list[float]


@dataclass(frozen=True, slots=True)
class NamedPoint:
    """A point that is written beside its mark, with bars of a deviation where one is known."""

    name: str
    across: float
    up: float
    across_by: float | None = None
    up_by: float | None = None


@contextmanager
def _style() -> Iterator[None]:
    with rc_context(_STYLE):
        yield


def styled(draw: Callable[Arguments, Figure]) -> Callable[Arguments, Figure]:
    """Draw under the house style, and lay the figure out before the style is gone."""

    @wraps(draw)
    def styled(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Figure:
        with _style():
            figure = draw(*args, **kwargs)
            figure.canvas.draw()
            return figure

    return styled


@styled
def layer_curves(panels: Mapping[str, Mapping[str, Sequence[float]]], *, meaning: str) -> Figure:
    """Values by layer, a line for each name, in panels by title."""
    figure, places = make_panels(len(panels), width=4.6, height=3.4, share_y=True)
    for axes, (title, series) in zip(places, panels.items(), strict=True):
        _lines(axes, {name: Curve(range(1, len(v) + 1), v) for name, v in series.items()})
        depth = max((len(values) for values in series.values()), default=0)
        step = -(-depth // _TICKS)
        axes.set(title=title, xlabel="Layer", xticks=range(1, depth + 1, max(step, 1)))
    places[0].set_ylabel(meaning)
    places[-1].legend(loc="best")
    return figure


@styled
def iou_by_depth(
    encoder: Sequence[Sequence[float]],
    decoder: Sequence[Sequence[float]],
    *,
    pivot: str,
    chance: Mapping[str, Sequence[float]] | None = None,
    published: Mapping[str, Sequence[float]] | None = None,
) -> Figure:
    """Pairwise IoU by layer: boxes, the mean as a line, and optionally the IoU of random sets.

    `encoder` and `decoder` hold a list of IoU values for each layer, of directions into and out of
    the pivot; `chance` and `published` map "encoder" and "decoder" to one value a layer.
    """
    titles = (f"Encoder, directions X→{pivot}", f"Decoder, directions {pivot}→X")
    figure, panels = make_panels(2, width=4.6, height=3.6, share_y=True)
    stacks = zip(panels, ("encoder", "decoder"), (encoder, decoder), titles, PALETTE, strict=False)
    for axes, stack, layers, title, colour in stacks:
        places = np.arange(1, len(layers) + 1)
        _boxes(axes, layers, places, colour)
        axes.plot(places, [np.mean(v) for v in layers], "o-", color=colour, label="mean", zorder=4)
        if chance and stack in chance:
            axes.plot(places, chance[stack], "--", color=MUTED, label="random sets of that size")
        if published and stack in published:
            axes.plot(places, published[stack], "D", color=INK, label="paper, mean", zorder=5)
        axes.set(title=title, xlabel="Layer", ylim=(0, 1), xticks=places)
        axes.grid(axis="y")
        axes.legend(loc="lower left")
    panels[0].set_ylabel("IoU of two languages' sets")
    return figure


@styled
def sparsity(
    encoder: Mapping[str, Sequence[float]], decoder: Mapping[str, Sequence[float]]
) -> Figure:
    """The share of masked neurons by layer, a line for each type of direction."""
    figure, panels = make_panels(2, width=4.6, height=3.4, share_y=True)
    for axes, series, title in zip(panels, (encoder, decoder), ("Encoder", "Decoder"), strict=True):
        _lines(axes, {name: Curve(range(1, len(v) + 1), v) for name, v in series.items()})
        depth = max((len(values) for values in series.values()), default=0)
        axes.set(title=title, xlabel="Layer", xticks=range(1, depth + 1))
    panels[0].set_ylabel("Masked neurons")
    panels[0].yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    panels[0].set_ylim(bottom=0)
    panels[-1].legend(loc="best")
    return figure


@styled
def training_curves(
    loss: Mapping[str, Curve], validation: Mapping[str, Curve], *, starts: Sequence[float] = ()
) -> Figure:
    """Training loss and validation nll against update, a curve for each stage or system.

    `starts` marks the updates at which a new stage begins; validation since the last of them is
    shown once more, enlarged, because that is where systems differ.
    """
    panels_of = [("Training loss", loss), ("Validation nll per token", validation)]
    if starts:
        panels_of.append(("Validation nll, last stage", _since(validation, max(starts))))
    figure, panels = make_panels(len(panels_of), width=4.1, height=3.4)
    for axes, (title, curves) in zip(panels, panels_of, strict=True):
        _lines(axes, curves, markers=False)
        for start in starts:
            axes.axvline(start, color=MUTED, linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="Update")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda update, _: f"{update:,.0f}")
    panels[0].legend(loc="best")
    return figure


@styled
def length_histograms(counts: Mapping[str, Sequence[int]], lower_ends: Sequence[int]) -> Figure:
    """The share of sentences by length, a panel a language; bins begin at `lower_ends`."""
    figure, panels = make_panels(len(counts), width=3.2, height=2.2, share_y=True)
    for axes, (name, values) in zip(panels, counts.items(), strict=True):
        total = max(sum(values), 1)
        axes.bar(range(len(values)), [value / total for value in values], color=PALETTE[0])
        axes.set_title(name)
        shown = range(0, len(lower_ends), 3)
        axes.set_xticks(list(shown), [str(lower_ends[place]) for place in shown])
        axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return figure


@styled
def swept_curves(
    panels: Mapping[str, Mapping[str, SpreadCurve]], values: Sequence[str], *, key: str, metric: str
) -> Figure:
    """A panel a setting of the other keys: score against `key`, with deviations as bars.

    Values that are all numbers lie on a scale, others side by side.
    """
    numbers = _numbers(values)
    figure, places = make_panels(len(panels), width=4.1, height=3.4, share_y=True)
    for axes, (title, curves) in zip(places, panels.items(), strict=True):
        _spread_lines(axes, curves, numbers)
        axes.set(title=title, xlabel=key)
        if numbers == list(range(len(values))):
            axes.set_xticks(numbers, values)
        axes.grid(axis="y")
    places[0].set_ylabel(metric)
    places[-1].legend(loc="best")
    return figure


@styled
def named_points(panels: Mapping[str, Sequence[NamedPoint]], *, across: str, up: str) -> Figure:
    """A panel of named points each, with lines at 0."""
    figure, places = make_panels(len(panels), width=4.6, height=3.8, share_y=True)
    for axes, (title, points), colour in zip(places, panels.items(), PALETTE, strict=False):
        axes.axhline(0, color=MUTED, linewidth=1)
        axes.axvline(0, color=MUTED, linewidth=1)
        for point in points:
            axes.errorbar(
                point.across,
                point.up,
                xerr=point.across_by,
                yerr=point.up_by,
                fmt="o",
                color=colour,
                elinewidth=1,
            )
            axes.annotate(
                point.name,
                (point.across, point.up),
                textcoords="offset points",
                xytext=(5, 3),
                fontsize=9,
            )
        axes.set(title=title, xlabel=across)
    places[0].set_ylabel(up)
    return figure


def save_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg, reproducible byte for byte; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    with _style():
        figure.savefig(png, dpi=_PNG_DPI, facecolor="white", metadata={"Software": None})
    svg.write_text(to_svg(figure, salt=name, facecolor="white"), encoding="utf-8")
    return [png, svg]


def to_svg(figure: Figure, *, salt: str, facecolor: str = "none") -> str:
    """The figure as SVG text without a date; `salt` keeps identifiers apart in one document."""
    text = io.StringIO()
    with rc_context({**_STYLE, "svg.hashsalt": salt}):
        figure.savefig(
            text, format="svg", facecolor=facecolor, metadata={"Date": None, "Creator": None}
        )
    return text.getvalue()


def make_panels(
    count: int, *, width: float, height: float, share_y: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels of one size in inches, in rows, without axes left over."""
    columns = min(max(count, 1), _PANELS_A_ROW)
    rows = max(-(-count // columns), 1)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=share_y)
    flat: list[Axes] = list(grid.ravel())
    for spare in flat[count:]:
        spare.set_visible(False)
    return figure, flat[:count]


def _boxes(
    axes: Axes, layers: Sequence[Sequence[float]], places: npt.NDArray[np.integer[Any]], colour: str
) -> None:
    axes.boxplot(
        [np.asarray(values, float) for values in layers],
        positions=places,
        widths=0.5,
        showfliers=False,
        patch_artist=True,
        boxprops={"facecolor": f"{colour}33", "edgecolor": colour},
        medianprops={"color": colour, "linewidth": 1.6},
        whiskerprops={"color": colour},
        capprops={"color": colour},
    )


def _since(curves: Mapping[str, Curve], start: float) -> dict[str, Curve]:
    """The part of each curve from `start` on; one that ended before keeps its name and look."""
    kept = {}
    for name, curve in curves.items():
        points = [p for p in zip(curve.updates, curve.values, strict=True) if p[0] >= start]
        kept[name] = Curve([update for update, _ in points], [value for _, value in points])
    return kept


def _lines(axes: Axes, curves: Mapping[str, Curve], *, markers: bool = True) -> None:
    looks = zip(itertools.cycle(PALETTE), itertools.cycle(_MARKERS), itertools.cycle(_DASHES))
    for place, ((name, curve), look) in enumerate(zip(curves.items(), looks, strict=False)):
        colour, marker, dash = look
        # Markers and colours come again together; the line tells these apart.
        again = "-" if place < len(PALETTE) else "--"
        axes.plot(
            list(curve.updates),
            list(curve.values),
            color=colour,
            marker=marker if markers else None,
            linestyle=again if markers else dash,
            label=name,
        )
    axes.grid(axis="y")


def _spread_lines(axes: Axes, curves: Mapping[str, SpreadCurve], numbers: Sequence[float]) -> None:
    looks = zip(itertools.cycle(PALETTE), itertools.cycle(_MARKERS))
    for (name, curve), (colour, marker) in zip(curves.items(), looks, strict=False):
        axes.errorbar(
            [numbers[place] for place in curve.places],
            curve.means,
            yerr=curve.deviations if any(curve.deviations) else None,
            color=colour,
            marker=marker,
            capsize=3,
            elinewidth=1,
            label=name,
        )


def _numbers(values: Sequence[str]) -> list[float]:
    """The values on a scale; their places, if one is no number."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return [float(place) for place in range(len(values))]
