"""Tables that are tall instead of wide: a summary for the terminal, and scores by direction."""

from __future__ import annotations

from collections.abc import Sequence

from nsmt.evaluation.groups import Group
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.reporting.results_tables import (
    HEADINGS,
    INTERVALS_ELSEWHERE,
    comparison_notes,
    comparison_resolution,
    format_difference,
    format_score,
    row_order,
)
from nsmt.reporting.tables import Table


def summary_table(comparison: Comparison, *, title: str) -> Table:
    """Group means with a column a system, and what the last one gains over the baseline."""
    systems = row_order(comparison)
    last = systems[-1]
    gain = last.name != comparison.baseline
    base = comparison.system(comparison.baseline)
    columns = ["", *(system.label for system in systems)]
    columns += [f"gain over {base.label}"] if gain else []
    rows = []
    for metric in comparison.metrics:
        for group in comparison.groups:
            scores = [
                format_score(system.mean(metric, group.directions), metric) for system in systems
            ]
            row = [f"{HEADINGS[metric]} {group.name}", *scores]
            if gain:
                found = comparison.by_group[last.name][metric][group.name]
                row.append(format_difference(found, metric))
            rows.append(row)
    seen = comparison_resolution(
        comparison, [group.name for group in comparison.groups], comparison.metrics
    )
    return Table(title, columns, rows, [seen, *comparison_notes(comparison, comparison.metrics)])


def scores_table(
    systems: Sequence[SystemResult], *, groups: Sequence[Group] = (), title: str = "Scores"
) -> Table:
    """Every metric of every system, with the signatures as notes."""
    keys = [(system, metric) for metric in systems[0].signatures for system in systems]
    directions = dict.fromkeys(direction for system in systems for direction in system.scores)
    rows = [
        [
            str(direction),
            *(format_score(system.scores.get(direction, {}).get(m), m) for system, m in keys),
        ]
        for direction in directions
    ]
    for group in groups:
        means = [format_score(system.mean(m, group.directions), m) for system, m in keys]
        rows.append([f"{group.name} ({len(group.directions)})", *means])
    several = len(systems) > 1
    columns = [HEADINGS[m] + (f" {system.label}" if several else "") for system, m in keys]
    notes = [f"{HEADINGS[m]}: {signature}" for m, signature in systems[0].signatures.items()]
    if several:
        notes.append(INTERVALS_ELSEWHERE)
    return Table(title, ["direction", *columns], rows, notes)
