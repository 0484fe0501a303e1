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
from nsmt.evaluation.seeds import SeedDifference, spread
from nsmt.evaluation.significance import COMET_KEY
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE, SPECIALISED
from nsmt.reporting.paper_tables import Column
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.table_notes import (
    format_gain,
    how_tested,
    published_notes,
    reproduction_notes,
    seeds_shown,
    visible_note,
)
from nsmt.reporting.tables import MISSING, Table

_DECIMALS: Final = 1
_COMET_DECIMALS: Final = 3
_NOT_SCORED: Final = (
    "COMET: not scored here; comet.environment=FOLDER does it for all runs, evaluate.py eval=comet "
    "run=FOLDER for one."
)
_OTHER_CORPUS: Final = (
    "Corpus and model are not the paper's: what can be compared is the sign and the order of "
    "differences."
)


def beside_table(result: Reproduction, metric: str, *, title: str | None = None) -> Table:
    """Table 2: for each published row, the paper's values, ours, and ours minus the paper's.

    The control, which the paper lacks, comes first, and below each method what it has over it.
    """
    columns = paper().columns["table2"]
    tiers = tier_columns(result.directions, result.languages, pivot=result.pivot)
    ours = {f"{c.block} {c.side}": Column("", c.directions) for c in tiers}
    shown = [ours.get(name) for name in columns]
    decimals = _decimals(metric)
    rows, firmnesses = list(_control_rows(result, metric, shown)), list[Firmness]()
    for row, published in _published(result, metric):
        firmnesses.append(row.firmness)
        mark = MARKS[row.firmness]
        measured = [_measured(result, row, metric, column) for column in shown]
        signed = row.kind == "difference"
        heading = row.label if not signed else f"{row.label}, Δ to mT-big"
        sign = "+" if signed else ""
        cells = [f"{published[name]:{sign}.{decimals}f}{mark}" for name in columns]
        rows.append([heading, "paper", *cells])
        own = [_own(values, signed=signed, decimals=decimals) for values in measured]
        rows.append(["", "here", *own])
        gaps = [
            _gap(published[name], values, decimals)
            for name, values in zip(columns, measured, strict=True)
        ]
        rows.append(["", "here − paper", *gaps])
        if signed:
            over = [_differences(result, row.method, CONTROL, metric, c) for c in shown]
            named = f"here, Δ to {result.label(CONTROL)}"
            own = [_own(values, signed=True, decimals=decimals) for values in over]
            rows.append(["", named, *own])
    notes = [
        *published_notes(firmnesses),
        paper().not_recovered["table2"],
        f"Δ: to the dense model, as in the paper; what {result.label(CONTROL)} has over it is "
        "longer training alone. Here: mean ± deviation over seeds.",
        *_visible(result, metric, (DENSE, CONTROL)),
        *([] if result.of_paper else [_OTHER_CORPUS]),
        *reproduction_notes(result, [metric]),
    ]
    heading = title or f"Table 2: {HEADINGS[metric]} beside the paper"
    return Table(heading, ["Row", "Whose", *columns], rows, notes)


def group_score_table(result: Reproduction) -> Table:
    """Table 11: BLEU, chrF++ and COMET by tier and side, from scores rounded as printed.

    Below them the differences to the control with the marks of their tests, and the paper's own
    difference, which is to its dense model.
    """
    tiers = tier_columns(result.directions, result.languages, pivot=result.pivot)
    columns = {f"{c.block} {c.side}": c.directions for c in tiers}
    scored = any(COMET_KEY in run.metrics for run in result.outcomes)
    rows, every = list[list[str]](), list[SeedDifference | None]()
    for metric in (BLEU_KEY, CHRF_KEY, COMET_KEY):
        known = metric != COMET_KEY or scored
        found = list(_mean_rows(result, metric, list(columns), scored=known))
        for system in result.systems if known else ():
            if system == CONTROL:
                continue
            tested = [result.tested(system, CONTROL, metric, way) for way in columns.values()]
            every += tested
            found.append(_gain_row(result, system, CONTROL, metric, columns, tested))
        if SPECIALISED in result.methods and known:
            found += _published_gain(result, metric, columns)
        rows += [[HEADINGS[metric], *cells] for cells in found]
    notes = [
        "As the paper's Table 11: means of BLEU and chrF++ rounded to one decimal, Avg is the mean "
        "of both sides; then mean ± deviation over seeds. Δ: of means before rounding.",
        f"Differences to {result.label(DENSE)} and the paper's to mT-big include the effect of "
        "longer training.",
        how_tested(every),
        *([] if scored else [_NOT_SCORED]),
        *published_notes(["firm", "derived"] if result.of_paper else ["derived"]),
        *([] if result.of_paper else [_OTHER_CORPUS]),
        *(note for m in (BLEU_KEY, CHRF_KEY) for note in _visible(result, m, (CONTROL,))),
        *(_visible(result, COMET_KEY, (CONTROL,)) if scored else ()),
        *reproduction_notes(result, (BLEU_KEY, CHRF_KEY, COMET_KEY)),
    ]
    return Table(
        "Table 11: by group of directions", ["Metric", "System", "Seeds", *columns], rows, notes
    )


def _mean_rows(
    result: Reproduction, metric: str, columns: Sequence[str], *, scored: bool
) -> Iterator[list[str]]:
    """At the paper's scale its means and the differences to them; then ours, if there are any."""
    decimals = _decimals(metric)
    means = {system: _printed(result, system, metric) for system in result.systems}
    by_column = {
        system: list(zip(*by_seed, strict=True)) or [()] * len(columns)
        for system, by_seed in means.items()
    }
    for row, published in _firm(metric) if result.of_paper else ():
        theirs = [published.get(name) for name in columns]
        cells = [MISSING if v is None else f"{v:.{decimals}f}" for v in theirs]
        yield [f"{row.label}, paper", "", *cells]
        ours = by_column.get(row.method, [()] * len(columns))
        gaps = [_gap(v, known, decimals) for v, known in zip(theirs, ours, strict=True)]
        yield [f"{row.label}, here − paper", "", *gaps]
    for system, values in by_column.items() if scored else ():
        own = [_own([v for v in of_seed if v is not None], decimals=decimals) for of_seed in values]
        yield [result.label(system), str(len(means[system])), *own]


def _gain_row(
    result: Reproduction,
    system: str,
    baseline: str,
    metric: str,
    columns: Mapping[str, Sequence[Direction]],
    tested: Sequence[SeedDifference | None],
) -> list[str]:
    """A system's differences to a baseline with the marks of their tests."""
    values = [
        list(result.differences(system, baseline, metric, way).values()) for way in columns.values()
    ]
    gains = [format_gain(t, v, metric) for t, v in zip(tested, values, strict=True)]
    return [f"{result.label(system)}, Δ to {result.label(baseline)}", seeds_shown(values), *gains]


def _published_gain(
    result: Reproduction, metric: str, columns: Mapping[str, Sequence[Direction]]
) -> Iterator[list[str]]:
    """What specialisation has over the dense model: here, and in the paper by its firm scores."""
    tested = [result.tested(SPECIALISED, DENSE, metric, way) for way in columns.values()]
    yield _gain_row(result, SPECIALISED, DENSE, metric, columns, tested)
    published = set(paper().columns["table2"])
    mark, decimals = MARKS["derived"], _decimals(metric)
    cells = [
        f"{paper().gain(SPECIALISED, name, metric):+.{decimals}f}{mark}"
        if name in published
        else MISSING
        for name in columns
    ]
    yield ["Neuron Specialization, Δ to mT-big, paper", "", *cells]


def _control_rows(
    result: Reproduction, metric: str, columns: Sequence[Column | None]
) -> Iterator[list[str]]:
    """What the control has, and what longer training alone brings."""
    label, decimals = result.label(CONTROL), _decimals(metric)
    if result.of_paper:
        scores = [
            list(result.scores(CONTROL, metric, c.directions).values()) if c else []
            for c in columns
        ]
        yield [label, "here", *(_own(values, decimals=decimals) for values in scores)]
    gains = [_differences(result, CONTROL, DENSE, metric, column) for column in columns]
    own = [_own(values, signed=True, decimals=decimals) for values in gains]
    yield [f"{label}, Δ to mT-big", "here", *own]


def _visible(result: Reproduction, metric: str, baselines: Sequence[str]) -> Iterator[str]:
    """The resolution of the last column, All Avg, to each baseline."""
    tiers = tier_columns(result.directions, result.languages, pivot=result.pivot)
    last = [tiers[-1].directions]
    for baseline in baselines:
        yield visible_note(result, metric, last, name="All Avg", baseline=baseline)


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
    if row.kind == "difference":
        return _differences(result, row.method, DENSE, metric, column)
    if column is None or not column.directions:
        return []
    return list(result.scores(row.method, metric, column.directions).values())


def _differences(
    result: Reproduction, system: str, baseline: str, metric: str, column: Column | None
) -> list[float]:
    """By seed; none where the corpus has no such column."""
    if column is None or not column.directions:
        return []
    return list(result.differences(system, baseline, metric, column.directions).values())


def _printed(result: Reproduction, system: str, metric: str) -> list[tuple[float | None, ...]]:
    """The means of each seed as the authors' script has them; COMET it does not round."""
    scored = [result.system(system, seed) for seed in result.seeds]
    known = [each for each in scored if each is not None and metric in each.signatures]
    columns = tier_columns(result.directions, result.languages, pivot=result.pivot)
    if metric == COMET_KEY:
        return [tuple(each.mean(metric, c.directions) for c in columns) for each in known]
    found = [
        table11([each], result.languages, pivot=result.pivot).values[metric][each.label]
        for each in known
    ]
    return [row if len(row) == len(columns) else (None,) * len(columns) for row in found]


def _gap(theirs: float | None, ours: Sequence[float | None], decimals: int) -> str:
    """The mean over seeds minus the paper's."""
    known = [value for value in ours if value is not None]
    if theirs is None or not known:
        return MISSING
    return f"{fmean(known) - theirs:+.{decimals}f}"


def _own(values: Sequence[float], *, decimals: int, signed: bool = False) -> str:
    if not values:
        return MISSING
    found = spread(values)
    text = f"{found.mean:{'+' if signed else ''}.{decimals}f}"
    return text if found.deviation is None else f"{text} ± {found.deviation:.{decimals}f}"


def _decimals(metric: str) -> int:
    return _COMET_DECIMALS if metric == COMET_KEY else _DECIMALS
