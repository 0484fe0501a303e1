"""Where does it pay? Gains over the control under several conditions, at equal updates in each.

A condition is a change to a table's base run: a narrower model, another temperature, another k.
Within it every method is compared with the control that was trained under the same condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.groups import ALL, groups_of
from nsmt.evaluation.seeds import seed_difference, spread
from nsmt.evaluation.significance import SIGNIFICANCE_LEVEL
from nsmt.methods import CONTROL
from nsmt.reporting.figures import SpreadCurve
from nsmt.reporting.paper_tables import format_gain, missing_notes
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.sweep_tables import format_p, format_seed_difference, format_spread
from nsmt.reporting.tables import MISSING, Table

_GROUPS: Final = (ALL, "O2M", "M2O")


@dataclass(frozen=True, slots=True)
class GainCurves:
    """Gains against numbers: `values` are texts of them in order, curves by label."""

    values: list[str]
    curves: dict[str, SpreadCurve]


def conditions_table(
    conditions: Mapping[str, Reproduction], metric: str, *, title: str, columns: str = "Condition"
) -> Table:
    """A row a condition and method: the control's score and the gain over it."""
    rows, widths = [], []
    for name, result in conditions.items():
        groups = {
            g.name: g.directions
            for g in groups_of(result.directions, result.languages, pivot=result.pivot)
        }
        control = list(result.scores(CONTROL, metric, groups.get(ALL, ())).values())
        shown = format_spread(control, metric) if control else MISSING
        for system in result.methods:
            values = [
                list(result.differences(system, CONTROL, metric, groups[g]).values())
                if g in groups
                else []
                for g in _GROUPS
            ]
            tested = [seed_difference(each) if each else None for each in values]
            whole = tested[0]
            if whole is not None and whole.tested is not None:
                widths.append(whole.tested.smallest_visible_difference)
            rows.append(
                [
                    name,
                    result.label(system),
                    str(len(values[0])),
                    shown,
                    MISSING if whole is None else format_seed_difference(whole, metric),
                    MISSING if whole is None else format_p(whole.exact_p),
                    *(
                        format_gain(each, v, metric)
                        for each, v in zip(tested[1:], values[1:], strict=True)
                    ),
                    _bootstrap(result, system, metric),
                ]
            )
    heading = [columns, "System", "Seeds", f"control {HEADINGS[metric]}", "gain All", "exact p"]
    heading += ["gain O2M", "gain M2O", "runs with p < 0.05"]
    return Table(title, heading, rows, _notes(conditions, metric, widths))


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


def _bootstrap(result: Reproduction, system: str, metric: str) -> str:
    """How many runs differ from the control by the bootstrap over sentences, and which way."""
    found = [result.bootstrap(system, seed, CONTROL, metric, ALL) for seed in result.seeds]
    known = [each for each in found if each is not None]
    if not known:
        return MISSING
    up = sum(each.significant and each.value > 0 for each in known)
    down = sum(each.significant and each.value < 0 for each in known)
    return f"{up} above, {down} below of {len(known)}"


def _notes(
    conditions: Mapping[str, Reproduction], metric: str, widths: Sequence[float]
) -> list[str]:
    notes = [
        "Gains over the control of the same condition and run, at equal updates: mean, 95 % "
        "interval or ± deviation over seeds; * "
        f"p < {SIGNIFICANCE_LEVEL} by the paired t-test over seeds, two-sided, not corrected for "
        "the number of comparisons. Of one seed, there is no test.",
        "Runs with p < 0.05: by the paired bootstrap over sentences, each run by itself.",
    ]
    if widths:
        notes.append(
            "Smallest visible difference (over seeds, All; half of the interval): "
            f"{min(widths):.4g} to {max(widths):.4g}."
        )
    for name, result in conditions.items():
        notes += [f"{name}: {line}" if name else line for line in missing_notes(result)]
    signatures = {m: t for result in conditions.values() for m, t in result.signatures.items()}
    return [
        *notes,
        *([f"{HEADINGS[metric]}: {signatures[metric]}"] if metric in signatures else []),
    ]
