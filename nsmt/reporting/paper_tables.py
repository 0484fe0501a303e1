"""The paper's tables from runs of nsmt: the same rows and columns, over seeds, with the control.

Every table comes three times: scores, differences to continue-dense (the comparison that counts)
and differences to the dense model (the paper's, which includes the longer training). Differences
are tested over seeds by Student's t; the intervals of single runs, over resampled sentences, have a
table of their own, as do the published numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.groups import ALL, groups_of, table_order, tier_columns
from nsmt.evaluation.paper import FIRMNESS_NOTES, paper
from nsmt.evaluation.seeds import SeedDifference, seed_difference
from nsmt.evaluation.significance import SIGNIFICANCE_LEVEL
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS, format_difference, format_score
from nsmt.reporting.sweep_tables import format_p, format_seed_difference, format_spread
from nsmt.reporting.tables import MISSING, Table

# The order of the paper's Table 1, which is that of the sizes of IWSLT-14.
TABLE_1_LANGUAGES: Final = ("fa", "pl", "ar", "he", "nl", "de", "it", "es")
_MARK: Final = "*"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of scores: the mean over some directions."""

    name: str
    directions: tuple[Direction, ...]


Blocks = Mapping[str, Sequence[Column]]


def table1(result: Reproduction, metric: str) -> dict[str, Table]:
    """A column a language and their mean, a block a side; in the paper's order of languages."""
    codes = language_order(result)
    blocks = {}
    for block in ("O2M", "M2O"):
        by_code = {code: _directions(result, code, block) for code in codes}
        everything = tuple(d for found in by_code.values() for d in found)
        columns = [Column(code, found) for code, found in by_code.items()]
        blocks[block] = [*columns, Column("Avg", everything)]
    return score_tables(
        result, metric, blocks, name="table1", title="Table 1", note=paper().not_recovered["table1"]
    )


def table2(result: Reproduction, metric: str) -> dict[str, Table]:
    """Tiers by O2M, M2O and Avg; for corpora without tiers, families and all directions."""
    columns = group_columns(result)
    name = "table2" if metric == "bleu" else f"table2-{metric.replace('++', 'pp')}"
    return score_tables(result, metric, {"": columns}, name=name, title="Table 2")


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
    ordered = table_order(result.directions, result.languages, pivot=result.pivot)
    paired = [d for d in ordered if result.pivot in (d.source, d.target)]
    codes = list(dict.fromkeys(d.other(result.pivot) for d in paired))
    first = [code for code in TABLE_1_LANGUAGES if code in codes]
    return [*first, *(code for code in codes if code not in first)]


def score_tables(
    result: Reproduction, metric: str, blocks: Blocks, *, name: str, title: str, note: str = ""
) -> dict[str, Table]:
    """Scores, both kinds of differences, and the intervals of single runs, by name."""
    heading = f"{title}: {HEADINGS[metric]}"
    notes = [note] if note else []
    tables = {name: _scores(result, metric, blocks, title=heading, notes=notes)}
    for baseline, suffix in ((CONTROL, "gains"), (DENSE, "gains-dense")):
        against = f"{heading}, differences to {result.label(baseline)}"
        tables[f"{name}-{suffix}"] = _gains(result, metric, blocks, baseline, title=against)
    tables[f"{name}-bootstrap"] = bootstrap_table(
        result, metric, title=f"{heading}, every run by itself"
    )
    return tables


def bootstrap_table(result: Reproduction, metric: str, *, title: str) -> Table:
    """Every run's difference to the control by group, with its interval over sentences."""
    groups = groups_of(result.directions, result.languages, pivot=result.pivot)
    names = [group.name for group in groups]
    rows, widths = [], []
    for system in result.systems:
        for seed in result.seeds:
            found = [result.bootstrap(system, seed, CONTROL, metric, name) for name in names]
            if system == CONTROL or not any(found):
                continue
            widths += [each.smallest_visible_difference for each in found[:1] if each]
            cells = [format_difference(each, metric) for each in found]
            rows.append([result.label(system), str(seed), *cells])
    resampled = {
        outcome.against[CONTROL].resampling
        for outcome in result.outcomes
        if CONTROL in outcome.against
    }
    notes = [
        f"Differences to {result.label(CONTROL)} in the same run, with 95 % intervals over "
        f"resampled sentences; {_MARK} p < {SIGNIFICANCE_LEVEL}, two-sided, not corrected for the "
        "number of comparisons.",
        *(f"Intervals: {text}" for text in sorted(resampled)),
        *_resolution(widths, metric, f"over sentences, mean over {names[0] if names else ALL}"),
        *_common(result, metric),
    ]
    return Table(title, ["System", "Seed", *names], rows, notes)


def format_gain(found: SeedDifference | None, values: Sequence[float], metric: str) -> str:
    """As "+0.29 ± 0.11*": mean and deviation over seeds; the mark is that of the t-test."""
    if found is None:
        return MISSING
    spread = format_spread(values, metric)
    sign = "" if spread.startswith("-") else "+"
    mark = _MARK if found.tested is not None and found.tested.significant else ""
    return f"{sign}{spread}{mark}"


def missing_notes(result: Reproduction) -> list[str]:
    """What every table says of rows that are not there."""
    return result.missing()


def published_notes(firmnesses: Sequence[str]) -> list[str]:
    """What the marks of published numbers mean, for those that occur."""
    return [text for name, text in FIRMNESS_NOTES.items() if name in firmnesses]


def _scores(
    result: Reproduction, metric: str, blocks: Blocks, *, title: str, notes: Sequence[str]
) -> Table:
    rows = []
    for block, system, columns in _rows(result, blocks):
        found = [list(result.scores(system, metric, c.directions).values()) for c in columns]
        cells = [format_spread(values, metric) if values else MISSING for values in found]
        rows.append([*block, result.label(system), _count(found), *cells])
    meaning = "Means over directions, then over seeds ± the deviation of the sample of seeds."
    notes = [meaning, *notes, *_common(result, metric)]
    return Table(title, [*_head(blocks), *_names(blocks)], rows, notes)


def _gains(
    result: Reproduction, metric: str, blocks: Blocks, baseline: str, *, title: str
) -> Table:
    rows, widths = [], []
    for block, system, columns in _rows(result, blocks):
        if system == baseline:
            continue
        values = [
            list(result.differences(system, baseline, metric, c.directions).values())
            for c in columns
        ]
        tested = [seed_difference(each) if each else None for each in values]
        cells = [
            format_gain(each, of_seeds, metric)
            for each, of_seeds in zip(tested, values, strict=True)
        ]
        last = tested[-1]
        if last is not None and last.tested is not None:
            widths.append(last.tested.smallest_visible_difference)
        whole = MISSING if last is None else format_seed_difference(last, metric)
        cells += [whole, MISSING if last is None else format_p(last.exact_p)]
        rows.append([*block, result.label(system), _count(values), *cells])
    final = _names(blocks)[-1]
    headings = [*_head(blocks), *_names(blocks), f"{final}, 95 %", f"{final}, exact p"]
    notes = [
        f"Differences to {result.label(baseline)} in the same run: mean ± deviation over seeds; "
        f"{_MARK} p < {SIGNIFICANCE_LEVEL} by the paired t-test over seeds, two-sided, not "
        "corrected for the number of comparisons. Exact p: sign-flip test, which needs six seeds "
        "for p < 0.05. Of one seed, there is no test.",
        *_resolution(widths, metric, f"over seeds, {final}"),
        *_common(result, metric),
    ]
    if baseline == DENSE:
        notes.insert(1, "These differences include the effect of longer training.")
    return Table(title, headings, rows, notes)


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


def _count(found: Sequence[Sequence[float]]) -> str:
    return str(max((len(values) for values in found), default=0))


def _directions(result: Reproduction, code: str, side: str) -> tuple[Direction, ...]:
    wanted = Direction(result.pivot, code) if side == "O2M" else Direction(code, result.pivot)
    return tuple(d for d in result.directions if d == wanted)


def _resolution(widths: Sequence[float], metric: str, where: str) -> list[str]:
    if not widths:
        return []
    low, high = (format_score(width, metric) for width in (min(widths), max(widths)))
    seen = low if low == high else f"{low} to {high}"
    return [f"Smallest visible difference ({where}; half of the interval): {seen}."]


def _common(result: Reproduction, metric: str) -> list[str]:
    signatures = result.signatures
    signed = [f"{HEADINGS[metric]}: {signatures[metric]}"] if metric in signatures else []
    return [*missing_notes(result), *signed]
