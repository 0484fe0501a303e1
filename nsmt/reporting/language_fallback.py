"""Languages that answers come in while language after language is switched off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nsmt.probing.ranks import Floats
from nsmt.reporting.figures import make_panels, styled
from nsmt.reporting.tables import Table

OTHER, NONE = "other", "none"


def fallback_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """The share of answers in each language, by what is off."""
    rows = [
        [
            name or "language neurons",
            _label(level),
            *(f"{100 * share:.0f}" for share in _shares(level, languages)),
        ]
        for name, levels in found["levels"].items()
        for level in levels
    ]
    count = len(found["levels"][""][0]["came"])
    return {
        "fallback": Table(
            "Languages switched off one after the other: languages of the answers (%)",
            ["neurons", "off, with those above", *languages, OTHER, NONE],
            rows,
            [
                f"{count} questions in {found['asked']}; identified by {found['identifier']}.",
                "An identifier names a language whatever the answer is worth.",
            ],
        )
    }


@styled
def _heatmap(panels: Mapping[str, Floats], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    figure, places = make_panels(len(panels), width=4.6, height=0.32 * len(rows) + 1.4)
    for axes, (title, shares) in zip(places, panels.items(), strict=True):
        image = axes.imshow(
            shares, cmap="viridis", vmin=0, vmax=1, interpolation="none", aspect="auto"
        )
        axes.set_title(title)
        axes.set_xticks(range(len(columns)), columns, rotation=90)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0, pad=2)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=places, shrink=0.8, aspect=35, pad=0.015)
    bar.set_label("share of answers")
    return figure


def fallback_figures(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Figure]:
    """One heat map a set of neurons: what is off (rows), the languages of the answers (columns)."""
    panels = {
        name or "language neurons": np.array([_shares(level, languages) for level in levels])
        for name, levels in found["levels"].items()
    }
    rows = [_label(level) for level in found["levels"][""]]
    return {"fallback": _heatmap(panels, rows, [*languages, OTHER, NONE])}


def _label(level: Mapping[str, Any]) -> str:
    return f"+ {level['off'][-1]}" if level["off"] else "nothing"


def _shares(level: Mapping[str, Any], languages: Sequence[str]) -> list[float]:
    came = Counter(level["came"])
    named = [came[code] for code in languages]
    nothing = came[""]
    rest = came.total() - sum(named) - nothing
    return [count / came.total() for count in (*named, rest, nothing)]
