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
from nsmt.reporting.results_tables import HEADINGS, format_difference, format_score
from nsmt.reporting.tables import MISSING, Table

Setting = tuple[str, ...]
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
    tables = {"scores": scores_table(scores)}
    if any(control in run.scores and len(run.scores) > 1 for run in scores.runs):
        tables["gains"] = gains_table(scores, control=control)
    if len(scores.settings) > 1:
        tables["settings"] = settings_table(scores, reference=reference)
    return tables


def scores_table(scores: SweepScores) -> Table:
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
        *_signatures(scores),
    ]
    return Table("Scores of the sweep", columns, rows, notes)


def gains_table(scores: SweepScores, *, control: str) -> Table:
    """What each system brings over the control that was trained beside it."""
    rows = []
    for setting in scores.settings:
        for system in scores.systems:
            if system == control:
                continue
            cells = _difference_cells(scores, (setting, system), (setting, control))
            if cells is not None:
                rows.append([*setting, scores.labels[system], *cells])
    title = f"Differences to {scores.labels[control]}"
    return Table(title, _difference_columns(scores), rows, _difference_notes(scores))


def settings_table(scores: SweepScores, *, reference: Setting) -> Table:
    """Every setting against the reference setting, system by system, over the seeds of both."""
    rows = []
    for setting in scores.settings:
        for system in scores.systems:
            if setting == reference:
                continue
            cells = _difference_cells(scores, (setting, system), (reference, system))
            if cells is not None:
                rows.append([*setting, scores.labels[system], *cells])
    named = ", ".join(f"{k}={v}" for k, v in zip(scores.keys, reference, strict=True))
    title = f"Differences to {named}"
    return Table(title, _difference_columns(scores), rows, _difference_notes(scores))


def format_spread(values: Sequence[float], metric: str) -> str:
    """As "21.40 ± 0.13"; of one seed, the score alone."""
    found = spread(values)
    text = format_score(found.mean, metric)
    return text if found.deviation is None else f"{text} ± {format_score(found.deviation, metric)}"


def _difference_columns(scores: SweepScores) -> list[str]:
    columns = [*scores.keys, "System", "Seeds"]
    for metric in scores.metrics:
        columns += [f"Δ {HEADINGS[metric]}", _EXACT]
    return columns


def _difference_cells(
    scores: SweepScores, one: tuple[Setting, str], other: tuple[Setting, str]
) -> list[str] | None:
    """The number of seeds that both have, and each metric's difference; None if there is none."""
    cells: list[str] = []
    count = 0
    for metric in scores.metrics:
        mine, theirs = scores.by_seed(*one, metric), scores.by_seed(*other, metric)
        shared = sorted(mine.keys() & theirs.keys())
        if not shared:
            return None
        count = len(shared)
        found = seed_difference([mine[seed] - theirs[seed] for seed in shared])
        cells += [format_seed_difference(found, metric), format_p(found.exact_p)]
    return [str(count), *cells]


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
        f"Means over the directions of {scores.group}.",
        *_signatures(scores),
    ]


def _signatures(scores: SweepScores) -> list[str]:
    return [f"{HEADINGS[m]}: {scores.signatures[m]}" for m in scores.metrics]


def _order(part: str) -> tuple[int, float, str]:
    """Numbers by size, before texts by name."""
    try:
        return 0, float(part), part
    except ValueError:
        return 1, 0.0, part
