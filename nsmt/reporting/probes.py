"""Tables and figures of probes, from the plain data that they leave.

Numbers are nats a target token where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nsmt.neurons.sites import STACKS
from nsmt.probing.interventions import ARM_RANDOM
from nsmt.reporting.figures import layer_curves
from nsmt.reporting.heatmaps import signed_heatmaps
from nsmt.reporting.tables import MISSING, Table

_ONE_RUN = (
    "Smallest visible difference: not known of one run; `nsmt reproduce probes` has it over seeds."
)
_INTERVAL = "95 % intervals: paired bootstrap over sentences of the test sets"


def probe_tables(probe: str, result: Mapping[str, Any]) -> dict[str, Table]:
    """The tables of one probe by name, the main one first; of a result that is empty, none."""
    return _TABLES[probe](result) if result else {}


def probe_figures(probe: str, result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """The figures of one probe by name."""
    if result:
        yield from _FIGURES[probe](result)


def _interventions(result: Mapping[str, Any]) -> dict[str, Table]:
    groups = list(result["random"])
    rows = [
        [name, *(_entry(arm["groups"].get(group)) for group in groups)]
        for name, arm in result["arms"].items()
    ]
    rows += [
        [
            f"{ARM_RANDOM}: mean",
            *(_difference(result["random"][group]["change"]) for group in groups),
        ],
        [f"{ARM_RANDOM}: range", *(_range(result["random"][group]) for group in groups)],
    ]
    arms = result["arms"].values()
    notes = [
        "nll of models as trained; of others the change against the same model as trained",
        _INTERVAL,
        _seen([entry for arm in arms for entry in arm["groups"].values()]),
        *_partner_notes(result["partners"]),
    ]
    tables = {"interventions": Table("Masks: nll a target token", ["", *groups], rows, notes)}
    tables["intervention-ratios"] = _ratio_table(result["ratios"])
    directions = list(next(iter(result["arms"].values()))["directions"])
    tables["interventions-by-direction"] = Table(
        "Masks: nll a target token by direction",
        ["", *directions],
        [
            [name, *(_entry(arm["directions"].get(each)) for each in directions)]
            for name, arm in result["arms"].items()
        ],
        [_INTERVAL, _seen([entry for arm in arms for entry in arm["directions"].values()])],
    )
    return tables


def _ratio_table(ratios: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            each["name"],
            f"{each['numerator']:+.4f}",
            f"{each['denominator']:+.4f}",
            _number(each["value"], 2),
            f"{'≥' if each['at_least'] else '≤'} {each['bar']:g}",
            "holds" if each["holds"] else "does not hold",
            _difference(each["margin"]),
        ]
        for each in ratios
    ]
    columns = ["ratio", "change", "of change", "value", "bar", "verdict", "margin"]
    notes = [
        "margin: how far in nats the first change is on the good side of bar x second change",
        _INTERVAL,
        _seen([{"change": each["margin"]} for each in ratios]),
    ]
    return Table("Masks: ratios and their bars", columns, rows, notes)


def _partner_notes(partners: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [
        f"{name}: " + ", ".join(f"{one} by {other}" for one, other in of_name.items())
        for name, of_name in partners.items()
        if of_name
    ]


def _gradients(result: Mapping[str, Any]) -> dict[str, Table]:
    relations = _relations(result)
    notes = [
        f"mean cosine over pairs of directions; {result['tokens']:,} target tokens a direction of "
        "the validation sets; no dropout",
        _ONE_RUN,
    ]
    rows = []
    layers = []
    for system, of_part in result["systems"].items():
        for part, of_place in of_part.items():
            for place, found in of_place.items():
                cells = [_number(found["means"][name]["mean"], 3) for name in relations]
                if place == "all":
                    rows.append([system, part, *cells])
                else:
                    layers.append([system, part, place, *cells])
    return {
        "gradients": Table(
            "Cosine between directions' gradients", ["model", "rows", *relations], rows, notes
        ),
        "gradients-by-layer": Table(
            "Cosine between directions' gradients by layer",
            ["model", "rows", "place", *relations],
            layers,
            notes,
        ),
    }


def _relations(result: Mapping[str, Any]) -> list[str]:
    """Those that any pair of directions is in."""
    return [name for name, count in result["pairs"].items() if count]


def _transfer(result: Mapping[str, Any]) -> dict[str, Table]:
    relations = _relations(result)
    rows = []
    for system, found in result["systems"].items():
        for kind, own in (("actual", "own"), ("predicted", "own predicted")):
            cells = [_small(found["means"][name][kind]) for name in relations]
            fit = [_number(found["rank correlation"], 3), _number(found["slope"], 3)]
            rows.append([system, kind, _small(found[own]), *cells, *fit])
    notes = [
        f"one step of gradient descent, {result['relative_step']:g} of the length of the weights",
        "correlation: Spearman's, of actual and predicted changes between different directions; "
        "slope: of actual on predicted, through 0",
        f"{result['tokens']:,} target tokens a direction of the validation sets",
        _ONE_RUN,
    ]
    columns = ["model", "change", "own direction", *relations, "correlation", "slope"]
    return {"transfer": Table("A step on one direction: nll of the others", columns, rows, notes)}


def _stability(result: Mapping[str, Any]) -> dict[str, Table]:
    rows, spreads = [], []
    for k, of_site in result["k"].items():
        for site, found in of_site.items():
            replicas = found["replicas"]
            spreads.append(replicas)
            spread = f"[{replicas['low']:.3f}, {replicas['high']:.3f}]"
            rows.append([site, k, _number(found["halves"], 3), f"{replicas['mean']:.3f}", spread])
    notes = [
        "IoU, mean over directions: of the sets of two halves that share no text of the pivot; of "
        f"the sets of {result['replicas']} Poisson bootstrap replicas with those of all sentences",
        _widths_note([(row["low"], row["high"]) for row in spreads]),
    ]
    columns = ["layer", "k", "halves", "replicas", "95 % interval"]
    return {"stability": Table("Stability of neuron sets", columns, rows, notes)}


def _family(result: Mapping[str, Any]) -> dict[str, Table]:
    rows = []
    for stack, found in result["stacks"].items():
        places = found["layers"] | {f"{stack}, mean": found["mean over layers"]}
        for place, layer in places.items():
            tested = layer["mantel"]
            cells = [_number(layer.get(name), 3) for name in ("all", "related", "unrelated")]
            cells.append(_number(layer.get("chance"), 3))
            rows.append([place, *cells, _number(tested["correlation"], 3), _number(tested["p"], 4)])
    columns = ["layer", "all pairs", "related", "unrelated", "chance", "correlation", "p"]
    notes = [
        f"IoU at k = {result['k']:g}, dense model; encoders over X→pivot, decoders over pivot→X",
        "correlation: Spearman's, of IoU and sharing a family; p: one-sided, by permuting "
        f"languages ({_permutations(result)})",
        _ONE_RUN,
    ]
    shape = [
        [
            each["stack"],
            f"{each['first']:.3f}",
            f"{each['last']:.3f}",
            f"{each['change']:+.3f}",
            each["bar"],
            "holds" if each["holds"] else "does not hold",
        ]
        for each in result["shape"]
    ]
    return {
        "family": Table("Overlap within and between families", columns, rows, notes),
        "family-shape": Table(
            "Overlap from the first layer to the last",
            ["stack", "first", "last", "change", "bar", "verdict"],
            shape,
            [notes[0], _ONE_RUN],
        ),
    }


def _permutations(result: Mapping[str, Any]) -> str:
    kinds = dict.fromkeys(
        f"{'all' if layer['mantel']['exact'] else 'random'} {layer['mantel']['permutations']:,}"
        for found in result["stacks"].values()
        for layer in found["layers"].values()
        if layer["mantel"]["permutations"]
    )
    return "; ".join(kinds) or "not defined where all languages or none are related"


def _gradient_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    labels, groups = result["directions"], result["groups"]
    for system, of_part in result["systems"].items():
        matrices = {
            part: np.array(of_place["all"]["matrix"], float)
            for part, of_place in of_part.items()
            if "all" in of_place
        }
        figure = signed_heatmaps(matrices, labels, groups, meaning="cosine of gradients")
        yield f"gradients-{system}", figure
        panels = {
            f"{stack}, {relation} directions": {
                part: _by_layer(
                    of_place, stack, lambda found, name=relation: found["means"][name]["mean"]
                )
                for part, of_place in of_part.items()
            }
            for stack in STACKS
            for relation in ("related", "unrelated")
            if result["pairs"][relation]
        }
        if panels:
            yield f"gradients-by-layer-{system}", layer_curves(panels, meaning="mean cosine")


def _transfer_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    for system, found in result["systems"].items():
        matrices = {kind: np.array(found[kind], float) for kind in ("actual", "predicted")}
        yield (
            f"transfer-{system}",
            signed_heatmaps(
                matrices,
                result["directions"],
                result["groups"],
                meaning="change of nll (row: stepped on)",
            ),
        )


def _stability_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    panels: dict[str, dict[str, list[float]]] = {}
    for stack in STACKS:
        panels[stack] = {}
        for k, of_site in result["k"].items():
            panels[stack][f"halves, k = {k}"] = _by_layer(
                of_site, stack, lambda found: found["halves"]
            )
            panels[stack][f"replicas, k = {k}"] = _by_layer(
                of_site, stack, lambda found: found["replicas"]["mean"]
            )
    yield "stability", layer_curves(panels, meaning="IoU")


def _family_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    panels = {
        stack: {
            name: _by_layer(found["layers"], stack, lambda layer, name=name: layer[name])
            for name in ("related", "unrelated", "chance")
        }
        for stack, found in result["stacks"].items()
    }
    if panels:
        yield "family", layer_curves(panels, meaning=f"mean IoU at k = {result['k']:g}")


def _no_figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    del result
    yield from ()


def _by_layer(of_place: Mapping[str, Any], stack: str, read: Any) -> list[float]:  # noqa: ANN401
    """One value a layer, by depth; not-a-number where there is none."""
    values = [read(found) for place, found in of_place.items() if place.startswith(f"{stack}.")]
    return [float("nan") if value is None else value for value in values]


def _entry(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return MISSING
    return _difference(entry["change"]) if "change" in entry else f"{entry['nll']:.4f}"


def _seen(entries: Sequence[Mapping[str, Any]]) -> str:
    """What changes could have been seen, over those that have an interval."""
    changes = [entry["change"] for entry in entries if "change" in entry]
    return _widths_note([(each["low"], each["high"]) for each in changes])


def _widths_note(ends: Sequence[tuple[float, float]]) -> str:
    if not ends:
        return "Smallest visible difference: not known, for want of an interval."
    widths = [(high - low) / 2 for low, high in ends]
    seen = f"{min(widths):.4f} to {max(widths):.4f}"
    return f"Smallest visible difference (half of the 95 % interval): {seen}."


def _range(found: Mapping[str, float]) -> str:
    return f"{found['lowest']:+.4f} to {found['highest']:+.4f}"


def _difference(found: Mapping[str, float]) -> str:
    return f"{found['value']:+.4f} [{found['low']:+.4f}, {found['high']:+.4f}]"


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def _small(value: float | None) -> str:
    return MISSING if value is None else f"{value:+.2e}"


_TABLES = {
    "interventions": _interventions,
    "gradients": _gradients,
    "transfer": _transfer,
    "stability": _stability,
    "family": _family,
}
_FIGURES = {
    "interventions": _no_figures,
    "gradients": _gradient_figures,
    "transfer": _transfer_figures,
    "stability": _stability_figures,
    "family": _family_figures,
}
