"""How long each model of a table was trained, which differs among them: a note below tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from nsmt.reporting.tables import Table
from nsmt.training.settings import ScheduleSettings

# By the first word of a table's name: those that set models beside each other that were trained
# for different times, or whose times are due to it.
_NOTED: Final = ("claims", "table2", "table3", "table4")


def with_updates(tables: Mapping[str, Table], note: str) -> dict[str, Table]:
    """The tables; the claims and Tables 2, 3 and 4 with the note, in all their forms."""
    return {
        name: replace(table, notes=[*table.notes, note])
        if name.partition("-")[0] in _NOTED
        else table
        for name, table in tables.items()
    }


def updates_note(
    schedule: ScheduleSettings, methods: Sequence[str], *, patience: int | None
) -> str:
    """What the schedule gives each model of these methods; `patience` is that of all stages."""
    stages = [schedule.dense, schedule.specialise]
    parts = [
        f"dense {schedule.dense.updates:,}",
        f"then {schedule.specialise.updates:,} for continue-dense and each method",
    ]
    if "lass" in methods:
        stages.append(tuning := schedule.of_parts("tuning"))
        parts.append(f"{tuning.updates:,} for each direction that LaSS tunes to find its masks")
    if "bilingual" in methods:
        stages.append(separate := schedule.of_parts("separate"))
        parts.append(f"{separate.updates:,} for each bilingual model")
    limit = any(stage.patience or patience for stage in stages)
    return f"Updates a model{', at most' if limit else ''}: {'; '.join(parts)}."
