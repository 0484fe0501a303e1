"""Tables over the runs of a sweep: means and deviations over seeds, gains, and settings compared.

A row is a setting (what was swept, but for the seed) and a system of its runs. Differences are
taken between runs of the same seed: of a system to the control beside it in the same run, and of a
setting to a reference setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.seeds import SeedDifference, seed_difference, spread
from nsmt.evaluation.significance import SIGNIFICANCE_LEVEL
from nsmt.reporting.results_tables import (
    HEADINGS,
    format_difference,
    format_score,
    resolution_note,
)
from nsmt.reporting.tables import MISSING, Table

Setting = tuple[str, ...]
Row = tuple[Setting, str]
_EXACT: Final = "exact p"


@dataclass(frozen=True, slots=True)
class RunScores:
    """One finished run: its setting, its seed, and mean scores by system and metric."""

    setting: Setting
    seed: int
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class SweepScores:
    """All finished runs; `keys` name the parts of a setting, `labels` the systems."""

    keys: tuple[str, ...]
    runs: tuple[RunScores, ...]
    labels: Mapping[str, str]
    signatures: Mapping[str, str]
    group: str

    @property
    def settings(self) -> list[Setting]:
        """Every setting, in the order of its numbers or its first run."""
        found = list(dict.fromkeys(run.setting for run in self.runs))
        return sorted(found, key=lambda setting: [_order(part) for part in setting])

    @property
    def metrics(self) -> list[str]:
        """The metrics that every system of every run has, in table order."""
        systems = [of_system for run in self.runs for of_system in run.scores.values()]
        return [m for m in HEADINGS if systems and all(m in found for found in systems)]

    @property
    def systems(self) -> list[str]:
        """Every system of any run, in the order of their labels."""
        found = {name for run in self.runs for name in run.scores}
        return [name for name in self.labels if name in found]

    def by_seed(self, setting: Setting, system: str, metric: str) -> dict[int, float]:
        """The score of each seed."""
        return {
            run.seed: run.scores[system][metric]
            for run in self.runs
            if run.setting == setting and system in run.scores
        }


def sweep_tables(scores: SweepScores, *, control: str, reference: Setting) -> dict[str, Table]:
    """The tables by name; those of differences only where there is something to compare."""
    tables = {"scores": sweep_scores_table(scores)}
    if any(control in run.scores and len(run.scores) > 1 for run in scores.runs):
        tables["gains"] = gains_table(scores, control=control)
    if len(scores.settings) > 1:
        tables["settings"] = settings_table(scores, reference=reference)
    return tables


def sweep_scores_table(scores: SweepScores) -> Table:
    """Mean and deviation over seeds, for each setting and system."""
    columns = [*scores.keys, "System", "Seeds", *(HEADINGS[m] for m in scores.metrics)]
    rows = []
    for setting in scores.settings:
        for system in scores.systems:
            found = [scores.by_seed(setting, system, m) for m in scores.metrics]
            if found and found[0]:
                cells = [
                    format_spread(list(values.values()), m)
                    for m, values in zip(scores.metrics, found, strict=True)
                ]
                rows.append([*setting, scores.labels[system], str(len(found[0])), *cells])
    notes = [
        f"Means over the directions of {scores.group}, then over seeds ± the deviation of the "
        "sample of seeds.",
        resolution_note(_widths(scores), "to the first setting, over seeds"),
        *_signatures(scores),
    ]
    return Table("Scores of the sweep", columns, rows, notes)


def gains_table(scores: SweepScores, *, control: str) -> Table:
    """What each system brings over the control that was trained beside it."""
    pairs = [
        ((setting, system), (setting, control))
        for setting in scores.settings
        for system in scores.systems
        if system != control
    ]
    return _difference_table(scores, pairs, against=scores.labels[control])


def settings_table(scores: SweepScores, *, reference: Setting) -> Table:
    """Every setting against the reference setting, system by system, over the seeds of both."""
    pairs = [
        ((setting, system), (reference, system))
        for setting in scores.settings
        for system in scores.systems
        if setting != reference
    ]
    named = ", ".join(f"{k}={v}" for k, v in zip(scores.keys, reference, strict=True))
    return _difference_table(scores, pairs, against=named)


def format_spread(values: Sequence[float], metric: str) -> str:
    """As "21.40 ± 0.13"; of one seed, the score alone."""
    found = spread(values)
    text = format_score(found.mean, metric)
    return text if found.deviation is None else f"{text} ± {format_score(found.deviation, metric)}"


def _difference_table(
    scores: SweepScores, pairs: Sequence[tuple[Row, Row]], *, against: str
) -> Table:
    """Differences of rows that both have runs of a seed, with what they could have seen."""
    rows = []
    widths: dict[str, list[float]] = {metric: [] for metric in scores.metrics}
    for one, other in pairs:
        found = {metric: _difference(scores, one, other, metric) for metric in scores.metrics}
        known = {metric: each for metric, each in found.items() if each is not None}
        if not known or len(known) < len(found):
            continue
        cells = [str(next(iter(known.values())).seeds)]
        for metric, each in known.items():
            cells += [format_seed_difference(each, metric), format_p(each.exact_p)]
            if each.tested is not None:
                widths[metric].append(each.tested.smallest_visible_difference)
        rows.append([*one[0], scores.labels[one[1]], *cells])
    columns = [*scores.keys, "System", "Seeds"]
    for metric in scores.metrics:
        columns += [f"Δ {HEADINGS[metric]}", _EXACT]
    seen = resolution_note(widths, f"to {against}, over seeds")
    notes = [*_difference_notes(scores), seen, *_signatures(scores)]
    return Table(f"Differences to {against}", columns, rows, notes)


def _difference(scores: SweepScores, one: Row, other: Row, metric: str) -> SeedDifference | None:
    """Over the seeds that both have; None if there is none."""
    mine, theirs = scores.by_seed(*one, metric), scores.by_seed(*other, metric)
    shared = sorted(mine.keys() & theirs.keys())
    return seed_difference([mine[seed] - theirs[seed] for seed in shared]) if shared else None


def format_seed_difference(found: SeedDifference, metric: str) -> str:
    """As "+0.29 [+0.13, +0.45]*"; of one seed, the difference alone."""
    if found.tested is not None:
        return format_difference(found.tested, metric)
    text = format_score(found.value, metric)
    return text if text.startswith("-") else f"+{text}"


def format_p(p: float | None) -> str:
    """A p value; a dash where there is no test."""
    return MISSING if p is None else f"{p:.3f}"


def _difference_notes(scores: SweepScores) -> list[str]:
    return [
        "Differences between runs of the same seed: mean and 95 % interval of the paired t-test "
        f"over seeds; * p < {SIGNIFICANCE_LEVEL}, two-sided, not corrected for the number of "
        "comparisons. Of one seed, there is no test.",
        f"{_EXACT}: two-sided sign-flip test over the same seeds, which needs six of them for "
        "p < 0.05.",
        f"Means over the directions of {scores.group}. The test set is taken as it is: intervals "
        "have the variation between training runs alone.",
    ]


def _widths(scores: SweepScores) -> dict[str, list[float]]:
    """Half widths of the differences of every setting to the first one, by metric."""
    first, others = scores.settings[0], scores.settings[1:]
    found = {
        metric: [
            _difference(scores, (setting, system), (first, system), metric)
            for setting in others
            for system in scores.systems
        ]
        for metric in scores.metrics
    }
    return {
        metric: [e.tested.smallest_visible_difference for e in of_metric if e and e.tested]
        for metric, of_metric in found.items()
    }


def _signatures(scores: SweepScores) -> list[str]:
    return [f"{HEADINGS[m]}: {scores.signatures[m]}" for m in scores.metrics]


def _order(part: str) -> tuple[int, float, str]:
    """Numbers by size, before texts by name."""
    try:
        return 0, float(part), part
    except ValueError:
        return 1, 0.0, part
