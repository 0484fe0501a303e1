"""What stands below the tables of a reproduction: resolution, tests, updates, what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from nsmt.evaluation.paper import FIRMNESS_NOTES
from nsmt.evaluation.seeds import Pooled, SeedDifference
from nsmt.evaluation.significance import SIGNIFICANCE_LEVEL
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE, PARTS
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS, resolution_note
from nsmt.reporting.sweep_tables import format_spread
from nsmt.reporting.tables import MISSING

MARK: Final = "*"
_SENTENCES_ALONE: Final = (
    ", over sentences alone: the variation between training runs is not known of one seed"
)


def format_gain(found: SeedDifference | None, values: Sequence[float], metric: str) -> str:
    """As "+0.29 ± 0.11*": mean and deviation over seeds; the mark is that of the test."""
    if found is None:
        return MISSING
    spread = format_spread(values, metric)
    sign = "" if spread.startswith("-") else "+"
    mark = MARK if found.tested is not None and found.tested.significant else ""
    return f"{sign}{spread}{mark}"


def seeds_shown(found: Sequence[Sequence[float]]) -> str:
    """How many seeds a row has, whichever column has most."""
    return str(max((len(values) for values in found), default=0))


def published_notes(firmnesses: Sequence[str]) -> list[str]:
    """What the marks of published numbers mean, for those that occur."""
    return [text for name, text in FIRMNESS_NOTES.items() if name in firmnesses]


def how_tested(found: Iterable[SeedDifference | None], *, pool: Pooled | None = None) -> str:
    """What the intervals of differences over seeds hold."""
    known = [each for each in found if each is not None and each.tested is not None]
    if known and all(each.sentences for each in known):
        holds = "They hold the variation between training runs and that between test sentences."
    else:
        holds = "Where runs kept no common resamples, they hold the variation of runs alone."
    return (
        f"95 % intervals and {MARK} p < {SIGNIFICANCE_LEVEL}: Student's t over seeds, paired by "
        f"seed and sentence, two-sided, not corrected for the number of comparisons. {holds}"
        + ("" if pool else " Of one seed, there is no test.")
    )


def widths_of(
    result: Reproduction,
    metric: str,
    ways: Sequence[Sequence[Direction]],
    *,
    baseline: str = CONTROL,
    systems: Sequence[str] | None = None,
    pool: Pooled | None = None,
) -> tuple[list[float], str]:
    """Half widths of rows' differences to a baseline on some means, and what they lack.

    Rows are all systems but the baseline, unless a table has those of `systems` alone. Of one seed,
    widths are those that its sentences alone give, which are less than the truth.
    """
    shown = result.systems if systems is None else systems
    others = [system for system in shown if system != baseline]
    tested = [
        result.tested(system, baseline, metric, way, pool=pool) for system in others for way in ways
    ]
    widths = [each.tested.smallest_visible_difference for each in tested if each and each.tested]
    if widths:
        return widths, ""
    single = [
        result.bootstrap(system, seed, baseline, metric, way)
        for system in others
        for seed in result.seeds
        for way in ways
    ]
    widths = [each.smallest_visible_difference for each in single if each]
    return widths, _SENTENCES_ALONE if widths else ""


def visible_note(
    result: Reproduction,
    metric: str,
    ways: Sequence[Sequence[Direction]],
    *,
    name: str,
    baseline: str = CONTROL,
) -> str:
    """The smallest difference to a baseline that rows could have shown, on some means."""
    widths, lacking = widths_of(result, metric, ways, baseline=baseline)
    where = f"to {result.label(baseline)}, {name}{lacking}"
    return resolution_note({metric: widths}, where)


def updates_notes(result: Reproduction) -> list[str]:
    """How long each row was trained after the dense model, where runs tell it."""
    told = []
    for system in result.systems:
        if system == DENSE or not (updates := result.updates(system)):
            continue
        text = f"{result.label(system)} {_counts(updates)}"
        if tuning := result.tuning(system):
            text += f", and {_counts(tuning)} for each direction to find its masks"
        if PARTS.get(system) == "separate":
            text += " from random weights"
        told.append(text)
    if not told:
        return []
    dense = _counts(result.updates(DENSE))
    before = f" ({dense})" if dense else ""
    return [f"Updates after the dense model{before}, of each model: {'; '.join(told)}."]


def _counts(found: Sequence[int]) -> str:
    return " and ".join(f"{count:,}" for count in found)


def at_equal_updates(result: Reproduction) -> bool:
    """Whether every row is known to have had the updates of the control."""
    of_control = result.updates(CONTROL)
    return len(of_control) == 1 and all(
        result.updates(system) == of_control
        for system in result.methods
        if any(result.run(system, seed) for seed in result.seeds)
    )


def reproduction_notes(result: Reproduction, metrics: Iterable[str]) -> list[str]:
    """Below every table: updates, what is missing, and the metrics' signatures."""
    signatures = result.signatures
    signed = [f"{HEADINGS[m]}: {signatures[m]}" for m in metrics if m in signatures]
    return [*updates_notes(result), *result.missing(), *signed]
