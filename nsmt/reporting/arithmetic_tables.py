"""Tables of language arithmetic: what programs change, in all and by target; whose neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsmt.evaluation.significance import Difference
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.reporting.results_tables import (
    HEADINGS,
    format_difference,
    format_score,
    resolution_note,
)
from nsmt.reporting.tables import MISSING, Table


@dataclass(frozen=True, slots=True)
class Change:
    """What a program changes of each metric's mean.

    `to_random` is the difference to the mean of the controls, empty without any.
    """

    label: str
    to_plain: Mapping[str, Difference]
    to_random: Mapping[str, Difference]


def changes_table(
    changes: Sequence[Change],
    metrics: Sequence[str],
    *,
    title: str,
    plain: str,
    notes: Sequence[str] = (),
) -> Table:
    """A row a program and strength: differences to the system as it is, and to random neurons."""
    columns = ["Program"]
    for metric in metrics:
        columns += [f"Δ {HEADINGS[metric]} to {plain}", f"Δ {HEADINGS[metric]} to random"]
    rows = []
    for change in changes:
        both = (change.to_plain, change.to_random)
        cells = [format_difference(found.get(m), m) for m in metrics for found in both]
        rows.append([change.label, *cells])
    seen = [
        resolution_note(
            {m: _widths([found[m] for found in of_each if m in found]) for m in metrics}, where
        )
        for where, of_each in (
            (f"to {plain}", [change.to_plain for change in changes]),
            ("to random", [change.to_random for change in changes if change.to_random]),
        )
        if of_each
    ]
    return Table(title, columns, rows, [*seen, *notes])


def targets_table(
    values: Mapping[str, float | None],
    changes: Mapping[str, Mapping[str, Difference]],
    *,
    metric: str,
    plain: str,
    notes: Sequence[str] = (),
) -> Table:
    """One metric by target language: the system as it is, then what each program changes.

    `values` are by language, `changes` by label and language.
    """
    first = [plain, *(format_score(value, metric) for value in values.values())]
    rows = [
        [label, *(format_difference(of_target.get(target), metric) for target in values)]
        for label, of_target in changes.items()
    ]
    widths = [found for of_target in changes.values() for found in of_target.values()]
    seen = resolution_note({metric: _widths(widths)}, f"of a target language to {plain}")
    title = f"{HEADINGS[metric]} by target language: {plain}, and what is added to it"
    return Table(title, ["Program", *values], [first, *rows], [seen, *notes])


def neurons_table(atlases: Mapping[str, NeuronAtlas], *, notes: Sequence[str] = ()) -> Table:
    """How many neurons each language has at each site; a neuron may be of several."""
    sites = [site for atlas in atlases.values() for site in atlas.sites]
    languages = dict.fromkeys(task for atlas in atlases.values() for task in atlas.tasks)
    rows = []
    for language in languages:
        cells = [language]
        for site in sites:
            atlas = atlases[site.stack]
            known = language in atlas.tasks
            cells.append(str(int(atlas.mask(language, site).sum())) if known else MISSING)
        rows.append(cells)
    union = [str(int(atlases[site.stack].masks(site).any(0).sum())) for site in sites]
    rows.append(["any", *union])
    rows.append(["of", *(str(site.width) for site in sites)])
    return Table("Neurons of languages", ["Language", *(s.name for s in sites)], rows, list(notes))


def _widths(found: Sequence[Difference]) -> list[float]:
    return [each.smallest_visible_difference for each in found]
