"""Tables of intervals: the claims that a reproduction decides, single runs, single directions.

The claims: is specialisation better than continue-dense, than random masks of the same size, than
what the paper says it beats, LaSS and adapters; is it not worse by more than a margin than these
and continue-dense. Both ends of each interval stand beside the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from nsmt.evaluation.claims import LEAST_SEEDS, MARGINS, is_better, is_not_worse
from nsmt.evaluation.groups import ALL, Group, groups_of, table_order
from nsmt.evaluation.seeds import SeedDifference
from nsmt.evaluation.significance import SIGNIFICANCE_LEVEL
from nsmt.methods import CONTROL, RANDOM, SPECIALISED
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import (
    HEADINGS,
    format_difference,
    format_score,
    resolution_note,
)
from nsmt.reporting.sweep_tables import format_seed_difference
from nsmt.reporting.table_notes import (
    MARK,
    how_tested,
    reproduction_notes,
    visible_note,
)
from nsmt.reporting.tables import MISSING, Table

_SIDES: Final = (ALL, "O2M", "M2O")
_CLAIMED_OVER: Final = (CONTROL, RANDOM)
# The paper's other baselines, where a table has their rows.
_CLAIMED_IF_THERE: Final = ("lass", "adapter_family", "adapter_pair")


def claims_table(result: Reproduction, metrics: Sequence[str]) -> Table:
    """Specialisation against controls and the paper's baselines: both bounds, and the verdicts."""
    groups = [group for group in _groups(result) if group.name in _SIDES]
    others = [method for method in _CLAIMED_IF_THERE if method in result.methods]
    rows, every = [], []
    for baseline in (*_CLAIMED_OVER, *others):
        for metric in metrics:
            for group in groups:
                found = result.tested(SPECIALISED, baseline, metric, group.directions)
                every.append(found)
                title = f"{result.label(SPECIALISED)} − {result.label(baseline)}"
                margin = None if baseline == RANDOM else MARGINS.get(metric)
                rows.append([title, HEADINGS[metric], group.name, *_claim(found, metric, margin)])
    columns = ["Difference of", "Metric", "Directions", "Seeds", "Difference", "95 %: from", "to"]
    columns += ["Smallest visible", "Better?", "Not worse than by the margin?"]
    margins = ", ".join(f"{margin:g} {HEADINGS[m]}" for m, margin in MARGINS.items())
    notes = [
        "Better: the whole interval is on the better side of 0. Not worse than by the margin: all "
        f"of it is above minus {margins}; not asked of {result.label(RANDOM)}. Does not hold: all "
        "of it is on the other side. Else undecided, which is no proof of equality; so is what "
        f"fewer than {LEAST_SEEDS} seeds show, or runs that kept no resamples.",
        "Smallest visible difference: half of the interval, in its column; one as large is seen "
        "about half of the time.",
        how_tested(every),
        *reproduction_notes(result, metrics),
    ]
    return Table("Claims: what specialisation brings", columns, rows, notes)


def bootstrap_table(
    result: Reproduction,
    metric: str,
    *,
    title: str,
    baseline: str = CONTROL,
    columns: Sequence[Group] | None = None,
) -> Table:
    """Every run's difference to a baseline by group, with its interval over sentences."""
    groups = _groups(result) if columns is None else columns
    rows, widths = [], []
    for system, seed in _singles(result, baseline):
        found = [result.bootstrap(system, seed, baseline, metric, g.directions) for g in groups]
        if not any(found):
            continue
        widths += [each.smallest_visible_difference for each in found[:1] if each]
        rows.append(
            [result.label(system), str(seed), *(format_difference(f, metric) for f in found)]
        )
    drawn = {each.resampling for run in result.outcomes for each in run.against.values()}
    first = groups[0].name if groups else ALL
    notes = [
        f"Differences to {result.label(baseline)} of the same seed, with 95 % intervals over "
        f"resampled sentences; {MARK} p < {SIGNIFICANCE_LEVEL}, two-sided, not corrected for the "
        "number of comparisons; the variation between training runs is not included.",
        *(f"Intervals: {text}" for text in sorted(drawn)),
        resolution_note({metric: widths}, f"of one run, {first}, over sentences"),
        *reproduction_notes(result, [metric]),
    ]
    return Table(title, ["System", "Seed", *(group.name for group in groups)], rows, notes)


def direction_gains_table(
    result: Reproduction, metric: str, *, title: str, baseline: str = CONTROL
) -> Table:
    """Every direction's difference to a baseline: over seeds, and of each seed over sentences."""
    seeds = result.seeds
    rows, every = list[list[str]](), list[SeedDifference | None]()
    for direction in table_order(result.directions, result.languages, pivot=result.pivot):
        for system in result.systems:
            if system == baseline:
                continue
            whole = result.tested(system, baseline, metric, [direction])
            every.append(whole)
            single = [
                result.bootstrap(system, seed, baseline, metric, [direction]) for seed in seeds
            ]
            cells = [format_difference(each, metric) for each in single]
            shown = MISSING if whole is None else format_seed_difference(whole, metric)
            rows.append([str(direction), result.label(system), shown, *cells])
    ways = [[direction] for direction in result.directions]
    seen = visible_note(result, metric, ways, name="of a direction", baseline=baseline)
    notes = [
        f"Differences to {result.label(baseline)}: over all seeds, and of each over resampled "
        "sentences alone.",
        how_tested(every),
        seen,
        *reproduction_notes(result, [metric]),
    ]
    heads = ["Direction", "System", "over seeds", *(f"seed {seed}" for seed in seeds)]
    return Table(title, heads, rows, notes)


def _claim(found: SeedDifference | None, metric: str, margin: float | None) -> list[str]:
    """The cells of one claim from its seeds on."""
    if found is None:
        return ["0", *[MISSING] * 4, "undecided", MISSING if margin is None else "undecided"]
    tested = found.tested
    value = format_score(found.value, metric)
    cells = [str(found.seeds), value if value.startswith("-") else f"+{value}"]
    if tested is None:
        cells += [MISSING] * 3
    else:
        half = tested.smallest_visible_difference
        ends = [format_score(end, metric) for end in (tested.low, tested.high)]
        cells += [end if end.startswith("-") else f"+{end}" for end in ends]
        cells.append(format_score(half, metric))
    # Seeds alone take the test set as given, and two may agree by chance.
    whole = tested if found.sentences and found.seeds >= LEAST_SEEDS else None
    cells.append(is_better(whole, metric))
    return [*cells, MISSING if margin is None else is_not_worse(whole, metric, by=margin)]


def _groups(result: Reproduction) -> list[Group]:
    return groups_of(result.directions, result.languages, pivot=result.pivot)


def _singles(result: Reproduction, baseline: str) -> Iterator[tuple[str, int]]:
    for system in result.systems:
        for seed in result.seeds if system != baseline else ():
            yield system, seed
