"""Unseen directions over seeds: every system's means, and what it has over continue-dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nsmt.evaluation.groups import ZERO_SHOT, Group
from nsmt.evaluation.seeds import SeedDifference
from nsmt.evaluation.significance import OFF_TARGET_KEY
from nsmt.languages import Direction
from nsmt.methods import CONTROL
from nsmt.reporting.interval_tables import bootstrap_table, direction_gains_table
from nsmt.reporting.paper_tables import named
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS, format_score
from nsmt.reporting.sweep_tables import format_seed_difference, format_spread
from nsmt.reporting.table_notes import how_tested, reproduction_notes, seeds_shown, visible_note
from nsmt.reporting.tables import MISSING, Table
from nsmt.reporting.zero_shot_tables import unidentified_notes

_NAME = "zero_shot"


@dataclass(frozen=True, slots=True)
class Unseen:
    """What the runs of a reproduction scored on directions that none of them was trained on.

    `left_out` are directions with too little text; `references` is the off-target rate of the
    references in percent, None without an identifier; into `unidentified` languages, which that
    does not know, there is no such rate.
    """

    result: Reproduction
    directions: tuple[Direction, ...]
    left_out: tuple[str, ...]
    references: float | None
    unidentified: tuple[str, ...] = ()

    def having(self, metric: str) -> tuple[Direction, ...]:
        """The directions that can have a metric."""
        if metric != OFF_TARGET_KEY:
            return self.directions
        return tuple(d for d in self.directions if d.target not in self.unidentified)


def unseen_tables(unseen: Unseen) -> dict[str, Table]:
    """One table of all metrics; and single runs and directions by metric."""
    result = unseen.result
    tables = {_NAME: _over_seeds(unseen)}
    for metric in _metrics(result):
        name, title = named(_NAME, metric), f"{ZERO_SHOT}: {HEADINGS[metric]}"
        group = Group(ZERO_SHOT, unseen.having(metric), "zero-shot")
        tables[f"{name}-bootstrap"] = bootstrap_table(
            result, metric, title=f"{title}, every run by itself", columns=[group]
        )
        tables[f"{name}-directions"] = direction_gains_table(
            result, metric, title=f"{title}, differences by direction"
        )
    return tables


def _over_seeds(unseen: Unseen) -> Table:
    result, directions = unseen.result, unseen.directions
    metrics = _metrics(result)
    rows, every = list[list[str]](), list[SeedDifference | None]()
    for system in result.systems:
        scores = [list(result.scores(system, m, unseen.having(m)).values()) for m in metrics]
        cells = []
        for metric, values in zip(metrics, scores, strict=True):
            found = result.tested(system, CONTROL, metric, unseen.having(metric))
            every.append(found)
            cells.append(format_spread(values, metric) if values else MISSING)
            cells.append(MISSING if found is None else format_seed_difference(found, metric))
        rows.append([result.label(system), seeds_shown(scores), *cells])
    control = result.label(CONTROL)
    heads = [name for m in metrics for name in (HEADINGS[m], f"Δ {HEADINGS[m]}")]
    notes = [
        f"Means over {len(directions)} directions without the pivot, then over seeds ± the "
        f"deviation of the sample of seeds. Δ: differences to {control} of the same seed.",
        how_tested(every),
        *(
            visible_note(result, metric, [unseen.having(metric)], name=ZERO_SHOT)
            for metric in metrics
        ),
        *_about_text(unseen),
        *unidentified_notes(unseen.unidentified, directions),
        *reproduction_notes(result, metrics),
    ]
    title = f"{ZERO_SHOT}: {len(directions)} directions that no system was trained on"
    return Table(title, ["System", "Seeds", *heads], rows, notes)


def _about_text(unseen: Unseen) -> list[str]:
    notes = []
    if unseen.references is not None:
        rate = format_score(unseen.references, OFF_TARGET_KEY)
        notes.append(
            f"Of the references, {rate} % are taken for another language: the identifier's own "
            "error, below which a rate means nothing."
        )
    if unseen.left_out:
        notes.append(f"Left out, having too few sentences: {', '.join(unseen.left_out)}.")
    return notes


def _metrics(result: Reproduction) -> Sequence[str]:
    """Those that all runs have, in the order of tables."""
    return [metric for metric in HEADINGS if metric in result.metrics]
