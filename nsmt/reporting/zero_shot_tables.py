"""Tables of unseen directions: a matrix from source to target, and a summary by system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nsmt.evaluation.off_target import INTO_PIVOT, INTO_SOURCE, NOT_JUDGED
from nsmt.evaluation.results import SystemResult
from nsmt.evaluation.significance import OFF_TARGET_KEY
from nsmt.languages import Direction
from nsmt.reporting.results_tables import HEADINGS, format_score
from nsmt.reporting.tables import MISSING, Table

Rates = Mapping[str, float]
MEAN: Final = "mean"
# What the references of a test set are called in tables of rates.
REFERENCES: Final = "references"
RATE_HEADINGS: Final = {
    OFF_TARGET_KEY: HEADINGS[OFF_TARGET_KEY],
    INTO_PIVOT: "in the pivot %",
    INTO_SOURCE: "in the source %",
    NOT_JUDGED: "not judged %",
}


def matrix_table(
    values: Mapping[Direction, float],
    codes: Sequence[str],
    *,
    metric: str,
    label: str,
    references: Mapping[Direction, float] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """One metric of one system: a row a source language, a column a target language, and means.

    `references` add a row: the mean, over sources, of the same rate of the references.
    """
    heading = RATE_HEADINGS.get(metric) or HEADINGS[metric]
    rows = [
        [
            source,
            *(_cell(_between(values, source, target), metric) for target in codes),
            _cell([value for d, value in values.items() if d.source == source], metric),
        ]
        for source in codes
    ]
    ends = {MEAN: values} | ({} if references is None else {REFERENCES: references})
    for name, of_each in ends.items():
        means = [[v for d, v in of_each.items() if d.target == target] for target in codes]
        rows.append([name, *(_cell(found, metric) for found in [*means, list(of_each.values())])])
    title = f"{heading} from row to column: {label}"
    return Table(title, ["source", *codes, MEAN], rows, list(notes))


def zero_shot_summary(
    systems: Sequence[SystemResult],
    directions: Sequence[Direction],
    rates: Mapping[str, Rates],
    *,
    title: str,
    notes: Sequence[str] = (),
) -> Table:
    """Means over the directions, a row a system; `rates` are by system, and of the references."""
    metrics = list(systems[0].signatures)
    further = list(RATE_HEADINGS)[1:] if rates else []
    columns = ["System", *(HEADINGS[m] for m in metrics), *(RATE_HEADINGS[m] for m in further)]
    rows = [
        [
            system.label,
            *(format_score(system.mean(metric, directions), metric) for metric in metrics),
            *(format_score(rates[system.name].get(name), name) for name in further),
        ]
        for system in systems
    ]
    if REFERENCES in rates:
        own = rates[REFERENCES]
        cells = (format_score(own.get(name), name) for name in [*metrics, *further])
        rows.append([f"{REFERENCES}: the identifier's own error", *cells])
    signatures = [f"{HEADINGS[m]}: {text}" for m, text in systems[0].signatures.items()]
    return Table(title, columns, rows, [*notes, *signatures])


def unidentified_notes(unidentified: Sequence[str], directions: Sequence[Direction]) -> list[str]:
    """What rates leave out, if the identifier does not know some of the languages."""
    if not unidentified:
        return []
    judged = sum(direction.target not in unidentified for direction in directions)
    return [
        f"The language identifier does not know {', '.join(unidentified)}: directions into them "
        f"are translated and scored, but have no off-target rate, and means of rates are over the "
        f"other {judged} of {len(directions)} directions. Output in one of them "
        "counts as another language's, so for directions from it the share in the source is not "
        "known."
    ]


def _between(values: Mapping[Direction, float], source: str, target: str) -> list[float]:
    """The value of a direction, if there is one."""
    value = None if source == target else values.get(Direction(source, target))
    return [] if value is None else [value]


def _cell(values: Sequence[float], metric: str) -> str:
    return format_score(sum(values) / len(values), metric) if values else MISSING
