"""What probes found in the runs of a reproduction, over seeds: a row a number, a column a seed.

The dense model and continue-dense are the same in all runs of a seed, so they have one row each but
for gradients on rows that are told apart by the masks of a method.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nsmt.evaluation.seeds import seed_difference, spread
from nsmt.methods import CONTROL, DENSE
from nsmt.probing.gradients import OTHER_PARAMETERS
from nsmt.probing.interventions import ARM_CONTINUED, ARM_DENSE, ARM_RANDOM
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.table_notes import updates_notes
from nsmt.reporting.tables import MISSING, Table

NAME: Final = "probes"
# How numbers of each unit are written; p has no mean over seeds.
_P: Final = "p"
_FORMS: Final = {
    "ratio": ".2f",
    "nll": ".4f",
    "nats": "+.4f",
    "nats by a step": "+.2e",
    "IoU": ".3f",
    "change of IoU": "+.3f",
    "correlation": "+.3f",
    "cosine": "+.3f",
    _P: ".4f",
}
# As interventions call the models that all runs of a seed have.
_SHARED: Final = {ARM_DENSE: DENSE, ARM_CONTINUED: CONTROL}


@dataclass(frozen=True, slots=True)
class Probed:
    """The plain results by probe, method and seed; runs that lack any are absent in `result`."""

    result: Reproduction
    found: Mapping[tuple[str, str, int], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of one run: what it is, of which model, where in it, and its bar if it has one."""

    name: str
    model: str
    place: str
    value: float | None
    unit: str
    bar: str = ""
    holds: bool | None = None

    def written(self, value: float, *, signed: bool = True) -> str:
        """A value of its unit; a deviation or a width has no sign."""
        form = _FORMS[self.unit]
        return format(value, form if signed else form.removeprefix("+"))


def probed_tables(probed: Probed) -> dict[str, Table]:
    """The bars first, then the numbers of each probe; a probe without results has no table."""
    parts = {
        NAME: ("Probes: the bars", _bars),
        f"{NAME}-interventions": ("Probes: nll a target token under other masks", _interventions),
        f"{NAME}-family": ("Probes: overlap by layer and family", _family),
        f"{NAME}-stability": ("Probes: overlap of sets from halves and replicas", _stability),
        f"{NAME}-gradients": ("Probes: cosine between directions' gradients", _gradients),
        f"{NAME}-transfer": ("Probes: a step on one direction, nll of the others", _transfer),
    }
    tables = {}
    for name, (title, read) in parts.items():
        by_row: dict[tuple[str, str, str], dict[int, Measure]] = {}
        for seed in probed.result.seeds:
            for method in probed.result.methods:
                results = {
                    probe: result
                    for (probe, *run), result in probed.found.items()
                    if run == [method, seed] and result
                }
                for each in read(results, _labels(probed.result, method)):
                    row = by_row.setdefault((each.name, each.model, each.place), {})
                    # Of the dense model and continue-dense, the first method's run of a seed tells.
                    row.setdefault(seed, each)
        if by_row:
            tables[name] = _table(title, list(by_row.values()), probed.result)
    return tables


def _table(title: str, rows: Sequence[Mapping[int, Measure]], result: Reproduction) -> Table:
    with_bars = any(each.bar for row in rows for each in row.values())
    cells, widths = list[list[str]](), dict[str, list[float]]()
    for row in rows:
        first = next(iter(row.values()))
        known = {seed: each.value for seed, each in row.items() if each.value is not None}
        over, width = _over_seeds(first, list(known.values()))
        if width is not None:
            widths.setdefault(first.unit, []).append(width)
        bar = [first.bar or MISSING, _held(list(row.values()))] if with_bars else []
        each_seed = [
            first.written(known[seed]) if seed in known else MISSING for seed in result.seeds
        ]
        head = [first.name, first.model, first.place]
        cells.append([*head, *bar, str(len(known)), *over, *each_seed])
    columns = ["Measure", "Model", "Of", *(["Bar", "Holds in"] if with_bars else []), "Seeds"]
    columns += ["Mean", "Deviation", "Half-width", *(f"seed {seed}" for seed in result.seeds)]
    notes = [_resolution(widths), _NOTE, *updates_notes(result), *result.missing()]
    return Table(title, columns, cells, notes)


def _over_seeds(measure: Measure, values: Sequence[float]) -> tuple[list[str], float | None]:
    """Mean, deviation and half-width in cells, and the last as a number."""
    cells, width = [MISSING] * 3, None
    if values and measure.unit != _P:
        found, tested = spread(values), seed_difference(values).tested
        cells[0] = measure.written(found.mean)
        if found.deviation is not None and tested is not None:
            width = tested.smallest_visible_difference
            cells[1:] = [measure.written(each, signed=False) for each in (found.deviation, width)]
    return cells, width


_NOTE: Final = (
    "Half-width: half of the 95 % interval of the mean over seeds (Student's t). A ratio has no "
    "value for a seed whose second change is no harm; p values have no mean."
)


def _resolution(widths: Mapping[str, Sequence[float]]) -> str:
    parts = []
    for unit, of_unit in widths.items():
        low, high = (
            format(value, _FORMS[unit].removeprefix("+")) for value in (min(of_unit), max(of_unit))
        )
        parts.append(f"{unit} {low if low == high else f'{low} to {high}'}")
    seen = ", ".join(parts) or "not known, for want of a second seed"
    return f"Smallest visible difference (half of the 95 % interval over seeds): {seen}."


def _held(row: Sequence[Measure]) -> str:
    told = [each.holds for each in row if each.holds is not None]
    return f"{sum(told)} of {len(told)}" if told else MISSING


Results = Mapping[str, Mapping[str, Any]]
Labels = Mapping[str, str]


def _labels(result: Reproduction, method: str) -> dict[str, str]:
    """What the models of a method's run are called; "" is the method's own."""
    return {name: result.label(name) for name in (DENSE, CONTROL, method)} | {
        "": result.label(method)
    }


def _bars(results: Results, labels: Labels) -> Iterator[Measure]:
    interventions = results.get("interventions", {})
    for each in interventions.get("ratios", ()):
        name = each["name"]
        of_swap = name.startswith(tuple(interventions["partners"]))
        model = labels["" if of_swap else DENSE]
        bar = f"{'≥' if each['at_least'] else '≤'} {each['bar']:g}"
        yield Measure(name, model, "ratio", each["value"], "ratio", bar, each["holds"])
        yield Measure(name, model, "change, nats", each["numerator"], "nats")
        yield Measure(name, model, "of change, nats", each["denominator"], "nats")
        yield Measure(name, model, "margin to the bar, nats", each["margin"]["value"], "nats")
    for each in results.get("family", {}).get("shape", ()):
        name, model = f"{each['stack']} overlap", labels[DENSE]
        yield Measure(name, model, "first layer", each["first"], "IoU")
        yield Measure(name, model, "last layer", each["last"], "IoU")
        change = each["change"]
        bar, holds = each["bar"], each["holds"]
        yield Measure(name, model, "change", change, "change of IoU", bar, holds)


def _interventions(results: Results, labels: Labels) -> Iterator[Measure]:
    result = results.get("interventions", {})
    for arm, found in result.get("arms", {}).items():
        model = labels[_SHARED.get(arm.partition(",")[0], "")]
        if arm.startswith(ARM_RANDOM):
            # Draws of one seed: their mean is below.
            continue
        for group, entry in found["groups"].items():
            if found["base"] is None:
                yield Measure("as trained", model, group, entry["nll"], "nll")
            else:
                name = f"change: {arm.removeprefix(f'{ARM_DENSE}, ')}"
                yield Measure(name, model, group, entry["change"]["value"], "nats")
    for group, found in result.get("random", {}).items():
        name = "change: random masks, mean of draws"
        yield Measure(name, labels[DENSE], group, found["change"]["value"], "nats")


def _family(results: Results, labels: Labels) -> Iterator[Measure]:
    model = labels[DENSE]
    for stack, found in results.get("family", {}).get("stacks", {}).items():
        places = found["layers"] | {f"{stack}, mean": found["mean over layers"]}
        for place, layer in places.items():
            for name in ("all", "related", "unrelated", "chance"):
                if name in layer:
                    yield Measure(f"IoU, {name}", model, place, layer[name], "IoU")
            tested = layer["mantel"]
            name = "family correlation"
            yield Measure(name, model, place, tested["correlation"], "correlation")
            yield Measure(f"{name}, p", model, place, tested["p"], _P)


def _stability(results: Results, labels: Labels) -> Iterator[Measure]:
    """Of two halves' sets with each other, and of bootstrap replicas' with those of all text."""
    for k, of_site in results.get("stability", {}).get("k", {}).items():
        for site, found in of_site.items():
            place, replicas = f"{site}, k = {k}", found["replicas"]["mean"]
            yield Measure("IoU, halves", labels[DENSE], place, found["halves"], "IoU")
            yield Measure("IoU, replicas and all", labels[DENSE], place, replicas, "IoU")


def _gradients(results: Results, labels: Labels) -> Iterator[Measure]:
    result = results.get("gradients", {})
    for system, of_part in result.get("systems", {}).items():
        for part, of_place in of_part.items():
            shared = system in (DENSE, CONTROL) and part != OTHER_PARAMETERS
            model = labels[system] + (f", masks of {labels['']}" if shared else "")
            means = of_place.get("all", {"means": {}})["means"]
            for relation, found in means.items():
                if result["pairs"][relation]:
                    yield Measure(part, model, relation, found["mean"], "cosine")


def _transfer(results: Results, labels: Labels) -> Iterator[Measure]:
    result = results.get("transfer", {})
    for system, found in result.get("systems", {}).items():
        model = labels[system]
        for kind, own in (("actual", "own"), ("predicted", "own predicted")):
            yield Measure(kind, model, "own direction", found[own], "nats by a step")
            for relation, means in found["means"].items():
                if result["pairs"][relation]:
                    yield Measure(kind, model, relation, means[kind], "nats by a step")
        name, fit = "actual and predicted", found["rank correlation"]
        yield Measure(name, model, "rank correlation", fit, "correlation")
