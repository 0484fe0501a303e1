"""The scores of systems by themselves: a row a direction and, below, a row a group."""

from __future__ import annotations

from collections.abc import Sequence

from nsmt.evaluation.groups import Group
from nsmt.evaluation.results import SystemResult
from nsmt.reporting.results_tables import format_score
from nsmt.reporting.tables import Table


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
    rows += [
        [group.name, *(format_score(system.mean(m, group.directions), m) for system, m in keys)]
        for group in groups
    ]
    several = len(systems) > 1
    columns = [f"{metric} {system.label}" if several else metric for system, metric in keys]
    notes = [f"{metric}: {signature}" for metric, signature in systems[0].signatures.items()]
    return Table(title, ["direction", *columns], rows, notes)
