"""Beside the paper: its printed numbers, ours, and the difference; and its Table 11.

Published numbers carry the mark of how firm they are. Differences to the dense model are compared,
as the paper prints them; absolute scores only where corpus and model are the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

from nsmt.evaluation.groups import tier_columns
from nsmt.evaluation.paper import MARKS, Firmness, PaperRow, paper
from nsmt.evaluation.published import table11
from nsmt.evaluation.scoring import BLEU_KEY, CHRF_KEY
from nsmt.evaluation.seeds import spread
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.paper_tables import Column, missing_notes, published_notes
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.tables import MISSING, Table

_DECIMALS: Final = 1
_OTHER_CORPUS: Final = (
    "Corpus and model are not the paper's: what can be compared is the sign and the order of "
    "differences."
)


def beside_table(result: Reproduction, metric: str, *, title: str | None = None) -> Table:
    """Table 2: for each published row, the paper's values, ours, and ours minus the paper's."""
    columns = paper().columns["table2"]
    tiers = tier_columns(result.directions, result.languages, pivot=result.pivot)
    ours = {f"{c.block} {c.side}": Column("", c.directions) for c in tiers}
    rows, firmnesses = [], list[Firmness]()
    for row, published in _published(result, metric):
        firmnesses.append(row.firmness)
        mark = MARKS[row.firmness]
        measured = [_measured(result, row, metric, ours.get(name)) for name in columns]
        signed = row.kind == "difference"
        heading = row.label if not signed else f"{row.label}, Δ to mT-big"
        cells = [f"{_number(published[name], signed=signed)}{mark}" for name in columns]
        rows.append([heading, "paper", *cells])
        rows.append(["", "here", *(_own(values, signed=signed) for values in measured)])
        gaps = [
            MISSING if not values else _number(fmean(values) - published[name], signed=True)
            for name, values in zip(columns, measured, strict=True)
        ]
        rows.append(["", "here − paper", *gaps])
    notes = [
        *published_notes(firmnesses),
        paper().not_recovered["table2"],
        f"Δ: to the dense model, as in the paper; here, {result.label(CONTROL)} says how much of "
        "it is longer training. Here: mean ± deviation over seeds.",
        *([] if result.of_paper else [_OTHER_CORPUS]),
        *missing_notes(result),
    ]
    heading = title or f"Table 2: {HEADINGS[metric]} beside the paper"
    return Table(heading, ["Row", "Whose", *columns], rows, notes)


def group_score_table(result: Reproduction) -> Table:
    """Table 11: BLEU and chrF++ by tier and side, from scores rounded as printed."""
    columns = [
        f"{c.block} {c.side}"
        for c in tier_columns(result.directions, result.languages, pivot=result.pivot)
    ]
    rows: list[list[str]] = []
    for metric in (BLEU_KEY, CHRF_KEY):
        heading = HEADINGS[metric]
        for row, published in _firm(metric) if result.of_paper else ():
            cells = [_number(published[name]) if name in published else MISSING for name in columns]
            rows.append([heading, f"{row.label}, paper", "", *cells])
        means = {system: _printed(result, system, metric) for system in result.systems}
        for system, by_seed in means.items():
            values = list(zip(*by_seed, strict=True)) or [()] * len(columns)
            cells = [_own([v for v in of_seed if v is not None]) for of_seed in values]
            rows.append([heading, result.label(system), str(len(by_seed)), *cells])
    notes = [
        "As the paper's Table 11: means of scores rounded to one decimal, Avg is the mean of both "
        "sides; then mean ± deviation over seeds.",
        "The paper's COMET scores have no counterpart here: nsmt does not compute COMET.",
        *(published_notes(["firm"]) if result.of_paper else [_OTHER_CORPUS]),
        *missing_notes(result),
        *(f"{HEADINGS[m]}: {text}" for m, text in result.signatures.items() if m in HEADINGS),
    ]
    return Table(
        "Table 11: by group of directions", ["Metric", "System", "Seeds", *columns], rows, notes
    )


def _published(result: Reproduction, metric: str) -> Iterator[tuple[PaperRow, Mapping[str, float]]]:
    """The paper's rows with their values; gains of firm rows are derived."""
    for row in paper().table("table2", metric):
        if row.method != DENSE and row.method not in result.methods:
            continue
        if row.kind == "difference":
            yield row, _values(row)
            continue
        if result.of_paper:
            yield row, _values(row)
        if row.method != DENSE:
            gains = {name: paper().gain(row.method, name, metric) for name in _values(row)}
            derived = {"kind": "difference", "firmness": "derived"}
            yield row.model_copy(update=derived), gains


def _firm(metric: str) -> Iterator[tuple[PaperRow, Mapping[str, float]]]:
    for row in paper().table("table2", metric):
        if row.firmness == "firm":
            yield row, _values(row)


def _values(row: PaperRow) -> dict[str, float]:
    return paper().values(row)


def _measured(
    result: Reproduction, row: PaperRow, metric: str, column: Column | None
) -> list[float]:
    if column is None or not column.directions:
        return []
    if row.kind == "absolute":
        found = result.scores(row.method, metric, column.directions)
    else:
        found = result.differences(row.method, DENSE, metric, column.directions)
    return list(found.values())


def _printed(result: Reproduction, system: str, metric: str) -> list[tuple[float | None, ...]]:
    """The means of each seed as the authors' script has them."""
    scored = [result.system(system, seed) for seed in result.seeds]
    found = [
        table11([each], result.languages, pivot=result.pivot).values[metric][each.label]
        for each in scored
        if each is not None
    ]
    names = [
        f"{c.block} {c.side}"
        for c in tier_columns(result.directions, result.languages, pivot=result.pivot)
    ]
    return [row if len(row) == len(names) else (None,) * len(names) for row in found]


def _own(values: Sequence[float], *, signed: bool = False) -> str:
    if not values:
        return MISSING
    found = spread(values)
    text = _number(found.mean, signed=signed)
    return text if found.deviation is None else f"{text} ± {found.deviation:.{_DECIMALS}f}"


def _number(value: float, *, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''}.{_DECIMALS}f}"
