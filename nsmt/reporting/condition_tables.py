"""Where does it pay? Gains over the control under several conditions.

A condition is a change to a table's base run: a narrower model, another temperature, another k.
Within it every method is compared with the control that was trained under the same condition. Two
seeds tell next to nothing of their own variance, so the intervals of a table have that of all its
rows together (`nsmt.evaluation.seeds.pooled`), and the variance over sentences of each row.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.groups import ALL, groups_of
from nsmt.evaluation.seeds import Pooled, SeedDifference, pooled, spread
from nsmt.languages import Direction
from nsmt.methods import CONTROL
from nsmt.reporting.figures import SpreadCurve
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS, format_score, resolution_note
from nsmt.reporting.sweep_tables import format_seed_difference, format_spread
from nsmt.reporting.table_notes import at_equal_updates, how_tested, updates_notes, widths_of
from nsmt.reporting.tables import MISSING, Table

_GROUPS: Final = (ALL, "O2M", "M2O")


@dataclass(frozen=True, slots=True)
class GainCurves:
    """Gains against numbers: `values` are texts of them in order, curves by label."""

    values: list[str]
    curves: dict[str, SpreadCurve]


def conditions_table(
    conditions: Mapping[str, Reproduction],
    metric: str,
    *,
    title: str,
    one_control: Collection[str] = (),
) -> Table:
    """A row a condition and method: the control's score and the gains over it.

    `one_control` names conditions that have the same control, so that their rows err together.
    """
    by_group = {name: _by_group(result) for name, result in conditions.items()}
    pools = {
        group: _pool(conditions, by_group, metric, group, one_control=one_control)
        for group in _GROUPS
    }
    rows, every = list[list[str]](), list[SeedDifference | None]()
    for name, result in conditions.items():
        control = list(result.scores(CONTROL, metric, by_group[name].get(ALL, ())).values())
        shown = format_spread(control, metric) if control else MISSING
        for system in result.methods:
            tested = {
                group: result.tested(system, CONTROL, metric, directions, pool=pools[group])
                for group, directions in by_group[name].items()
            }
            every += tested.values()
            cells = [
                MISSING if found is None else format_seed_difference(found, metric)
                for found in (tested.get(group) for group in _GROUPS)
            ]
            whole = tested.get(ALL)
            seeds = 0 if whole is None else whole.seeds
            singles = _bootstrap(result, system, metric, by_group[name].get(ALL, ()))
            rows.append([name, result.label(system), str(seeds), shown, *cells, singles])
    heading = ["Condition", "System", "Seeds", f"control {HEADINGS[metric]}"]
    heading += [*(f"gain {group}" for group in _GROUPS), "runs with p < 0.05"]
    notes = [
        _equal_note(conditions),
        how_tested(every, pool=pools[ALL]),
        _pool_note(pools[ALL], metric),
        "Runs with p < 0.05: by the paired bootstrap over sentences, each run by itself, All.",
        _resolution(conditions, by_group, metric, pools[ALL]),
    ]
    return Table(title, heading, rows, [*notes, *_common(conditions, metric)])


def gain_curves(
    conditions: Mapping[str, Reproduction], places: Mapping[str, str], metric: str
) -> GainCurves:
    """The gain over all directions against a number of each condition, a curve a method."""
    values = sorted({places[name] for name in conditions}, key=float)
    curves: dict[str, SpreadCurve] = {}
    for name, result in sorted(conditions.items(), key=lambda item: float(places[item[0]])):
        groups = groups_of(result.directions, result.languages, pivot=result.pivot)
        whole = next((g.directions for g in groups if g.name == ALL), ())
        for system in result.methods:
            found = list(result.differences(system, CONTROL, metric, whole).values())
            if found:
                curve = curves.setdefault(result.label(system), SpreadCurve([], [], []))
                of_seeds = spread(found)
                curve.places.append(values.index(places[name]))
                curve.means.append(of_seeds.mean)
                curve.deviations.append(of_seeds.deviation or 0.0)
    return GainCurves(values, curves)


def _by_group(result: Reproduction) -> dict[str, tuple[Direction, ...]]:
    groups = groups_of(result.directions, result.languages, pivot=result.pivot)
    found = {group.name: group.directions for group in groups}
    return {name: found[name] for name in _GROUPS if name in found}


def _pool(
    conditions: Mapping[str, Reproduction],
    by_group: Mapping[str, Mapping[str, Sequence[Direction]]],
    metric: str,
    group: str,
    *,
    one_control: Collection[str],
) -> Pooled | None:
    """The variance over seeds of all rows."""
    by_control: dict[str, list[list[float]]] = {}
    for name, result in conditions.items():
        if group in by_group[name]:
            by_control.setdefault("" if name in one_control else name, []).extend(
                list(result.differences(system, CONTROL, metric, by_group[name][group]).values())
                for system in result.methods
            )
    return pooled(by_control.values())


def _bootstrap(
    result: Reproduction, system: str, metric: str, directions: Sequence[Direction]
) -> str:
    """How many runs differ from the control by the bootstrap over sentences, and which way."""
    found = [result.bootstrap(system, seed, CONTROL, metric, directions) for seed in result.seeds]
    known = [each for each in found if each is not None]
    if not known:
        return MISSING
    up = sum(each.significant and each.value > 0 for each in known)
    down = sum(each.significant and each.value < 0 for each in known)
    return f"{up} above, {down} below of {len(known)}"


def _resolution(
    conditions: Mapping[str, Reproduction],
    by_group: Mapping[str, Mapping[str, Sequence[Direction]]],
    metric: str,
    pool: Pooled | None,
) -> str:
    """Over all rows and conditions, the means over all directions."""
    found = [
        widths_of(result, metric, [by_group[name].get(ALL, ())], systems=result.methods, pool=pool)
        for name, result in conditions.items()
    ]
    lacking = next((text for widths, text in found if widths), "")
    return resolution_note({metric: [w for ws, _ in found for w in ws]}, f"of a row, All{lacking}")


def _equal_note(conditions: Mapping[str, Reproduction]) -> str:
    equal = all(at_equal_updates(result) for result in conditions.values())
    at = ", at equal updates" if equal else "; for how many updates each was trained, see below"
    return f"Gains over the control of the same condition and seed{at}: means over seeds."


def _pool_note(pool: Pooled | None, metric: str) -> str:
    if pool is None:
        return "No row has two seeds: nothing is known of the variation between training runs."
    deviation = format_score(pool.variance**0.5, metric)
    return (
        f"The deviation over seeds is taken to be the same in all rows: All {deviation}, with "
        f"{pool.freedom:.1f} degrees of freedom, fewer than rows have seeds because methods share "
        "their control."
    )


def _common(conditions: Mapping[str, Reproduction], metric: str) -> list[str]:
    notes = []
    for name, result in conditions.items():
        own = [*updates_notes(result), *result.missing()]
        notes += [f"{name}: {line}" if name else line for line in own]
    signatures = {m: t for result in conditions.values() for m, t in result.signatures.items()}
    return [
        *notes,
        *([f"{HEADINGS[metric]}: {signatures[metric]}"] if metric in signatures else []),
    ]
