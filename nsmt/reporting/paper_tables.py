"""The paper's tables from runs of nsmt: the same rows and columns, over seeds, with the control.

Every table comes as scores, differences to continue-dense (the comparison that counts) and
differences to the dense model (the paper's, which includes the longer training), all tested over
seeds and sentences. `nsmt.reporting.interval_tables` has single runs and directions, and
`nsmt.reporting.published_tables` the published numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.groups import ALL, groups_of, tier_columns
from nsmt.evaluation.paper import MARKS, PaperParameters, paper
from nsmt.evaluation.seeds import SeedDifference
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.interval_tables import bootstrap_table, direction_gains_table
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.sweep_tables import format_p, format_seed_difference, format_spread
from nsmt.reporting.table_notes import (
    format_gain,
    how_tested,
    published_notes,
    reproduction_notes,
    seeds_shown,
    visible_note,
)
from nsmt.reporting.tables import MISSING, Table

_ADDED: Final = "Δθ"
# The order of the paper's Table 1, which is that of the sizes of IWSLT-14.
TABLE_1_LANGUAGES: Final = ("fa", "pl", "ar", "he", "nl", "de", "it", "es")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of scores: the mean over some directions."""

    name: str
    directions: tuple[Direction, ...]


Blocks = Mapping[str, Sequence[Column]]


def table1(
    result: Reproduction, metric: str, *, sizes: Mapping[str, int] | None = None
) -> dict[str, Table]:
    """A column a language and their mean, a block a side; in the paper's order of languages.

    `sizes` are sentence pairs of training text by language, shown where they are known.
    """
    sizes = sizes or {}
    told = f"In brackets: sentence pairs of training text with {result.pivot}. " if sizes else ""
    codes = language_order(result)
    blocks = {}
    for block in ("O2M", "M2O"):
        wanted = {code: result.between(code, block) for code in codes}
        by_code = {c: tuple(d for d in result.directions if d == w) for c, w in wanted.items()}
        everything = tuple(d for found in by_code.values() for d in found)
        columns = [
            Column(f"{code} ({sizes[code]:,})" if code in sizes else code, found)
            for code, found in by_code.items()
        ]
        blocks[block] = [*columns, Column("Avg", everything)]
    return score_tables(
        result,
        metric,
        blocks,
        name=named("table1", metric),
        title="Table 1",
        note=told + paper().not_recovered["table1"],
        published=paper().table1_parameters,
    )


def table2(result: Reproduction, metric: str) -> dict[str, Table]:
    """Tiers by O2M, M2O and Avg; for corpora without tiers, families and all directions."""
    columns = group_columns(result)
    return score_tables(
        result, metric, {"": columns}, name=named("table2", metric), title="Table 2"
    )


def named(table: str, metric: str) -> str:
    """The name of a table's file: that of BLEU has the table's alone."""
    return table if metric == "bleu" else f"{table}-{metric.replace('++', 'pp')}"


def group_columns(result: Reproduction) -> list[Column]:
    """The columns of Table 2."""
    found = tier_columns(result.directions, result.languages, pivot=result.pivot)
    columns = [Column(f"{c.block} {c.side}", c.directions) for c in found]
    if any(column.block != ALL for column in found):
        return columns
    groups = groups_of(result.directions, result.languages, pivot=result.pivot)
    families = [Column(g.name, g.directions) for g in groups if g.kind == "family"]
    return [*families, *columns]


def language_order(result: Reproduction) -> list[str]:
    """Languages in the order of Table 1, then others as tables have them."""
    first = [code for code in TABLE_1_LANGUAGES if code in result.codes]
    return [*first, *(code for code in result.codes if code not in first)]


def score_tables(
    result: Reproduction,
    metric: str,
    blocks: Blocks,
    *,
    name: str,
    title: str,
    note: str = "",
    published: Sequence[PaperParameters] = (),
) -> dict[str, Table]:
    """Scores, both kinds of differences, single runs, and single directions, by name.

    Scores have a column of the added parameters that are `published`, if there are any.
    """
    heading = f"{title}: {HEADINGS[metric]}"
    notes = [*([note] if note else []), *published_notes([row.firmness for row in published])]
    printed = {row.method: f"{row.parameters}{MARKS[row.firmness]}" for row in published}
    tables = {name: _scores(result, metric, blocks, printed, title=heading, notes=notes)}
    for baseline, suffix in ((CONTROL, "gains"), (DENSE, "gains-dense")):
        against = f"{heading}, differences to {result.label(baseline)}"
        tables[f"{name}-{suffix}"] = _gains(result, metric, blocks, baseline, title=against)
    tables[f"{name}-bootstrap"] = bootstrap_table(
        result, metric, title=f"{heading}, every run by itself"
    )
    tables[f"{name}-directions"] = direction_gains_table(
        result, metric, title=f"{heading}, differences by direction"
    )
    return tables


def _scores(
    result: Reproduction,
    metric: str,
    blocks: Blocks,
    printed: Mapping[str, str],
    *,
    title: str,
    notes: Sequence[str],
) -> Table:
    """`printed` are the added parameters as they are published, by method."""
    rows = []
    for block, system, columns in _rows(result, blocks):
        found = [list(result.scores(system, metric, c.directions).values()) for c in columns]
        cells = [format_spread(values, metric) if values else MISSING for values in found]
        added = [_added(result, system), *([printed.get(system, MISSING)] if printed else [])]
        rows.append([*block, result.label(system), *added, seeds_shown(found), *cells])
    every = [
        "Means over directions, then over seeds ± the deviation of the sample of seeds.",
        f"{_ADDED}: parameters beyond those of the dense model, of all that a system is made of.",
        *notes,
        *_visible(result, metric, blocks, CONTROL),
        *reproduction_notes(result, [metric]),
    ]
    head = _head(blocks)
    head[-1:-1] = [_ADDED, *([f"{_ADDED}, paper"] if printed else [])]
    return Table(title, [*head, *_names(blocks)], rows, every)


def _gains(
    result: Reproduction, metric: str, blocks: Blocks, baseline: str, *, title: str
) -> Table:
    rows, every = list[list[str]](), list[SeedDifference | None]()
    for block, system, columns in _rows(result, blocks):
        if system == baseline:
            continue
        values = [
            list(result.differences(system, baseline, metric, c.directions).values())
            for c in columns
        ]
        tested = [result.tested(system, baseline, metric, c.directions) for c in columns]
        every += tested
        cells = [
            format_gain(each, of_seeds, metric)
            for each, of_seeds in zip(tested, values, strict=True)
        ]
        last = tested[-1]
        whole = MISSING if last is None else format_seed_difference(last, metric)
        cells += [whole, MISSING if last is None else format_p(last.exact_p)]
        rows.append([*block, result.label(system), seeds_shown(values), *cells])
    final = _names(blocks)[-1]
    headings = [*_head(blocks), *_names(blocks), f"{final}, 95 %", f"{final}, exact p"]
    notes = [
        f"Differences to {result.label(baseline)} in the same run: mean ± deviation over seeds.",
        how_tested(every),
        "Exact p: sign-flip test over seeds, which needs six of them for p < 0.05.",
        *_visible(result, metric, blocks, baseline),
        *reproduction_notes(result, [metric]),
    ]
    if baseline == DENSE:
        notes.insert(1, "These differences include the effect of longer training.")
    return Table(title, headings, rows, notes)


def _visible(result: Reproduction, metric: str, blocks: Blocks, baseline: str) -> Iterator[str]:
    for block, columns in blocks.items():
        name = f"{block} {columns[-1].name}".strip()
        last = [columns[-1].directions]
        yield visible_note(result, metric, last, name=name, baseline=baseline)


def _added(result: Reproduction, system: str) -> str:
    share = result.added(system)
    return MISSING if share is None else f"{100 * share:+.0f} %" if share else "0 %"


def _rows(
    result: Reproduction, blocks: Blocks
) -> Iterator[tuple[list[str], str, Sequence[Column]]]:
    for block, columns in blocks.items():
        for system in result.systems:
            yield [block] if len(blocks) > 1 else [], system, columns


def _head(blocks: Blocks) -> list[str]:
    return [*(["Block"] if len(blocks) > 1 else []), "System", "Seeds"]


def _names(blocks: Blocks) -> list[str]:
    return [column.name for column in next(iter(blocks.values()))]
