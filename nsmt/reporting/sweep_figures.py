"""A figure for each swept key and metric: score against value, a line a system.

Where several keys were swept, every combination of the others has a panel of its own: a mean over
settings would hide what they do to each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from matplotlib.figure import Figure

from nsmt.evaluation.seeds import spread
from nsmt.reporting.figures import SpreadCurve, swept_curves
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.sweep_tables import SweepScores

# Beyond, panels are too many to read: choose some runs by `where`.
MOST_PANELS: Final = 24


def sweep_figures(scores: SweepScores) -> Iterator[tuple[str, Figure]]:
    """The figures by name, as in bleu-by-selection.k; keys with one value have none."""
    for place, key in enumerate(scores.keys):
        values = list(dict.fromkeys(setting[place] for setting in scores.settings))
        if len(values) < 2:
            continue
        for metric in scores.metrics:
            panels = _panels(scores, place, values, metric)
            if len(panels) <= MOST_PANELS:
                name = f"{metric.replace('++', 'pp')}-by-{key.replace('/', '.')}"
                yield name, swept_curves(panels, values, key=key, metric=HEADINGS[metric])


def _panels(
    scores: SweepScores, place: int, values: list[str], metric: str
) -> dict[str, dict[str, SpreadCurve]]:
    panels: dict[str, dict[str, SpreadCurve]] = {}
    for setting in scores.settings:
        others = [f"{k}={v}" for k, v in zip(scores.keys, setting, strict=True)]
        del others[place]
        curves = panels.setdefault(", ".join(others), {})
        for system in scores.systems:
            found = scores.by_seed(setting, system, metric)
            if found:
                curve = curves.setdefault(scores.labels[system], SpreadCurve([], [], []))
                of_seeds = spread(list(found.values()))
                curve.places.append(values.index(setting[place]))
                curve.means.append(of_seeds.mean)
                curve.deviations.append(of_seeds.deviation or 0.0)
    return panels
