"""The tables of results: main, by group, by direction, and the paper's Table 11.

A specialised model has trained longer than the dense model it started from, and at small scale
all of its gain over that model is extra training (+1.05 BLEU, where continuing the dense model
gives +1.23). So every table that lacks the continued dense model says so. Every table also says
how small a difference it could have seen; a difference below that is not a finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nsmt.evaluation.groups import Group
from nsmt.evaluation.published import TierTable
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.evaluation.scoring import BLEU_KEY, CHRF_KEY
from nsmt.evaluation.significance import (
    COMET_KEY,
    NLL_KEY,
    OFF_TARGET_KEY,
    SIGNIFICANCE_LEVEL,
    Difference,
)
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.tables import MISSING, Table

HEADINGS: Final = {
    BLEU_KEY: "BLEU",
    CHRF_KEY: "chrF++",
    COMET_KEY: "COMET",
    NLL_KEY: "nll ↓",
    OFF_TARGET_KEY: "off-target % ↓",
}
_DECIMALS: Final = {NLL_KEY: 4, COMET_KEY: 4}
_MAIN_KINDS: Final = ("side", "all", "zero-shot")
_MARK: Final = "*"
# Of tables that are made before anything is compared.
INTERVALS_ELSEWHERE: Final = (
    "Smallest visible difference: below the tables of differences (main, groups-…, directions-…)."
)


def comparison_tables(comparisons: Sequence[Comparison]) -> dict[str, Table]:
    """All tables of one evaluation by name; the last comparison is against the main baseline."""
    *others, against = comparisons
    tables = {"main": main_table(against, also=others)}
    for metric in against.metrics:
        name = metric.replace("++", "pp")
        tables[f"groups-{name}"] = group_table(against, metric)
        tables[f"directions-{name}"] = direction_table(against, metric)
    return tables


def main_table(
    comparison: Comparison,
    *,
    also: Sequence[Comparison] = (),
    metrics: Sequence[str] | None = None,
    title: str = "Main results",
) -> Table:
    """Group means of every metric, and the differences of the overall mean to each baseline.

    Rows are the dense model, the control, then the other systems as given. The first comparison
    and those in `also` each add a column of differences a metric. `metrics` are all by default.
    """
    comparisons = [comparison, *also]
    groups = sorted(
        (group for group in comparison.groups if group.kind in _MAIN_KINDS),
        key=lambda group: _MAIN_KINDS.index(group.kind),
    )
    overall = _overall(comparison)
    metrics = comparison.metrics if metrics is None else metrics
    columns = ["System", *(f"{HEADINGS[m]} {group.name}" for m in metrics for group in groups)]
    columns += [f"Δ {HEADINGS[m]} vs {_label(c)}" for c in comparisons for m in metrics]
    rows = []
    for system in row_order(comparison):
        means = [
            format_score(system.mean(m, group.directions), m) for m in metrics for group in groups
        ]
        differences = [
            _group_difference(c, system, m, overall) for c in comparisons for m in metrics
        ]
        rows.append([system.label, *means, *differences])
    notes = [
        f"Means over directions; differences of the mean over {overall.name} "
        f"({len(overall.directions)} directions).",
        *(comparison_resolution(c, [overall.name], metrics) for c in comparisons),
        *comparison_notes(comparison, metrics),
    ]
    return Table(title, columns, rows, notes)


def group_table(comparison: Comparison, metric: str, *, title: str | None = None) -> Table:
    """One metric by group of directions: every system's mean and its difference to the baseline."""
    systems = row_order(comparison)
    columns = ["Group", "Directions", *_system_columns(comparison, systems)]
    rows = []
    for group in comparison.groups:
        scored = [d for d in group.directions if metric in systems[0].scores.get(d, {})]
        cells = [group.name, str(len(scored))]
        for system in systems:
            cells.append(format_score(system.mean(metric, group.directions), metric))
            if system.name != comparison.baseline:
                cells.append(_group_difference(comparison, system, metric, group))
        rows.append(cells)
    heading = title or f"{HEADINGS[metric]} by group of directions"
    names = [group.name for group in comparison.groups]
    seen = comparison_resolution(comparison, names, [metric])
    return Table(heading, columns, rows, [seen, *comparison_notes(comparison, [metric])])


def direction_table(comparison: Comparison, metric: str, *, title: str | None = None) -> Table:
    """One metric by direction: every system's score and its difference to the baseline."""
    systems = row_order(comparison)
    columns = ["Direction", "Sentences", *_system_columns(comparison, systems)]
    rows = []
    for direction, sentences in comparison.sentences.items():
        cells = [str(direction), str(sentences)]
        for system in systems:
            cells.append(format_score(system.scores[direction].get(metric), metric))
            if system.name != comparison.baseline:
                found = comparison.by_direction[system.name].get(metric, {}).get(direction)
                cells.append(format_difference(found, metric))
        rows.append(cells)
    widths = [
        found.smallest_visible_difference
        for of_metric in comparison.by_direction.values()
        for found in of_metric.get(metric, {}).values()
    ]
    seen = resolution_note({metric: widths}, f"of a direction to {_label(comparison)}")
    notes = [seen, *comparison_notes(comparison, [metric])]
    return Table(title or f"{HEADINGS[metric]} by direction", columns, rows, notes)


def published_table(table: TierTable, *, title: str = "Published outputs, scored again") -> Table:
    """The paper's Table 11 with the scores that its published outputs get here."""
    columns = ["Metric", "System", *(f"{column.block} {column.side}" for column in table.columns)]
    rows = [
        [HEADINGS[metric], label, *(MISSING if v is None else f"{v:.1f}" for v in means)]
        for metric, of_system in table.values.items()
        for label, means in of_system.items()
    ]
    notes = [f"{HEADINGS[m]}: {signature}" for m, signature in table.signatures.items()]
    notes.append("Means of scores rounded to one decimal; Avg is the mean of O2M and M2O.")
    notes.append(INTERVALS_ELSEWHERE)
    if table.missing:
        notes.append(
            f"{len(table.missing)} of {table.expected} directions are missing: "
            f"{', '.join(map(str, table.missing))}."
        )
    return Table(title, columns, rows, notes)


def comparison_notes(
    comparison: Comparison, metrics: Iterable[str] | None = None, *, same_weights: bool = False
) -> list[str]:
    """What must stand below every table of a comparison: meaning of marks, method, signatures.

    Systems of the same weights do not differ in how long they were trained.
    """
    notes = [
        f"Differences have 95 % intervals; {_MARK} p < {SIGNIFICANCE_LEVEL}, two-sided, not "
        "corrected for the number of comparisons; the variation between training runs is not "
        "included.",
        f"Intervals: {comparison.resampling}",
    ]
    names = [system.name for system in comparison.systems]
    if DENSE in names and CONTROL not in names and not same_weights:
        notes.insert(
            0,
            f"The control '{CONTROL}' is not in this table: differences to the dense model include "
            "the effect of longer training.",
        )
    signatures = comparison.signatures
    shown = comparison.metrics if metrics is None else metrics
    return notes + [f"{HEADINGS[m]}: {signatures[m]}" for m in shown if m in signatures]


def format_score(value: float | None, metric: str) -> str:
    """A score at the precision of its metric."""
    return MISSING if value is None else f"{value:.{_DECIMALS.get(metric, 2)}f}"


def format_difference(difference: Difference | None, metric: str) -> str:
    """As "+0.29 [+0.13, +0.45]*", where the mark says p < 0.05."""
    if difference is None:
        return MISSING
    digits = _DECIMALS.get(metric, 2)
    value, low, high = (
        f"{number:+.{digits}f}" for number in (difference.value, difference.low, difference.high)
    )
    return f"{value} [{low}, {high}]{_MARK if difference.significant else ''}"


def row_order(comparison: Comparison) -> list[SystemResult]:
    """The dense model, the control, then the other systems as given."""
    first = {DENSE: 0, CONTROL: 1}
    return sorted(comparison.systems, key=lambda system: first.get(system.name, len(first)))


def _overall(comparison: Comparison) -> Group:
    whole = [group for group in comparison.groups if group.kind == "all"]
    return whole[0] if whole else max(comparison.groups, key=lambda group: len(group.directions))


def _label(comparison: Comparison) -> str:
    return comparison.system(comparison.baseline).label


def _system_columns(comparison: Comparison, systems: Sequence[SystemResult]) -> list[str]:
    columns = []
    for system in systems:
        columns.append(system.label)
        if system.name != comparison.baseline:
            columns.append(f"{system.label} − {_label(comparison)}")
    return columns


def _group_difference(
    comparison: Comparison, system: SystemResult, metric: str, group: Group
) -> str:
    found = comparison.by_group.get(system.name, {}).get(metric, {}).get(group.name)
    return format_difference(found, metric)


def resolution_note(widths: Mapping[str, Sequence[float]], where: str) -> str:
    """What every table of differences says below it: how small a difference it could have seen.

    `widths` are the half widths of its intervals by metric, `where` says of which differences.
    """
    parts = [f"{HEADINGS[m]} {_range(found, m)}" for m, found in widths.items() if found]
    seen = ", ".join(parts) or "not known, for want of an interval"
    how = "half of the 95 % interval; one as large is seen about half of the time"
    return f"Smallest visible difference {where} ({how}): {seen}."


def comparison_resolution(
    comparison: Comparison, groups: Sequence[str], metrics: Sequence[str]
) -> str:
    """The same for the groups of a comparison."""
    widths = {
        metric: [
            of_metric[metric][group].smallest_visible_difference
            for of_metric in comparison.by_group.values()
            if metric in of_metric
            for group in groups
            if group in of_metric[metric]
        ]
        for metric in metrics
    }
    return resolution_note(widths, f"to {_label(comparison)}")


def _range(widths: Sequence[float], metric: str) -> str:
    low, high = format_score(min(widths), metric), format_score(max(widths), metric)
    return low if low == high else f"{low} to {high}"
