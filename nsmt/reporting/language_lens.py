"""Readings of the logit lens: tables and figures by layer and language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from matplotlib.figure import Figure

from nsmt.reporting.figures import layer_curves
from nsmt.reporting.tables import Table

Reading = Mapping[str, Any]
# Scripts with less of every text and layer are not drawn.
_LEAST_SHARE: Final = 0.05
_PLAIN: Final = "as it is"


def lens_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """Likelihood and agreement by layer, the effect of each change, and scripts at some layers."""
    plain = found["readings"][""]
    layers = range(len(plain[languages[0]]["nll"]))

    def by_layer(title: str, value: Callable[[Reading, int], float], form: str) -> Table:
        rows = [
            [str(layer + 1), *(format(value(plain[code], layer), form) for code in languages)]
            for layer in layers
        ]
        return Table(title, ["layer", *languages], rows, [_tokens(plain)])

    return {
        "lens": by_layer("Logit lens: nats a token", _nll, ".2f"),
        "lens-agreement": by_layer(
            "Logit lens: likeliest token is the last layer's (%)",
            lambda reading, layer: 100 * _agreed(reading, layer),
            ".0f",
        ),
        "lens-changes": _change_table(found, languages),
        "lens-scripts": _script_table(found, languages),
    }


def lens_figures(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Figure]:
    """Curves by layer: likelihood under each change, agreement, and each script's share."""
    readings, plain = found["readings"], found["readings"][""]

    def curves(of: Mapping[str, Reading], value: Callable[[Reading, int], float]) -> Any:  # noqa: ANN401
        return {
            code: [value(of[code], layer) for layer in range(len(of[code]["nll"]))]
            for code in languages
        }

    def panels(value: Callable[[Reading, int], float]) -> dict[str, Any]:
        return {name or _PLAIN: curves(of, value) for name, of in readings.items()}

    shares = {
        script: curves(plain, partial(_share, script=place))
        for place, script in _drawn(found, languages)
    }
    return {
        "lens": layer_curves(panels(_nll), meaning="nats a token"),
        "lens-agreement": layer_curves(panels(_agreed), meaning="share of positions"),
        "lens-scripts": layer_curves(shares, meaning="probability"),
    }


def _change_table(found: Mapping[str, Any], languages: Sequence[str]) -> Table:
    """Nats that each change adds at the last layer."""
    readings = found["readings"]
    rows = []
    for name, of in readings.items():
        added = (_nll(of[code], -1) - _nll(readings[""][code], -1) for code in languages)
        if name:
            rows.append([name, *(f"{nats:+.3f}" for nats in added)])
    return Table(
        "Logit lens: nats a token that the language's neurons add, switched off (last layer)",
        ["switched off", *languages],
        rows,
    )


def _script_table(found: Mapping[str, Any], languages: Sequence[str]) -> Table:
    """Shares of probability after each quarter of the layers, and of the text's own tokens."""
    plain = found["readings"][""]
    depth = len(plain[languages[0]]["nll"])
    places = sorted({max(0, round(depth * part / 4) - 1) for part in range(1, 5)})
    rows = []
    for place, script in _drawn(found, languages):
        for layer in places:
            shares = (100 * _share(plain[code], layer, place) for code in languages)
            rows.append([script, f"layer {layer + 1}", *(f"{share:.0f}" for share in shares)])
        own = (100 * plain[code]["text"][place] / plain[code]["tokens"] for code in languages)
        rows.append([script, "the text", *(f"{share:.0f}" for share in own)])
    return Table(
        "Logit lens: probability of tokens by script (%)", ["script", "of", *languages], rows
    )


def _drawn(found: Mapping[str, Any], languages: Sequence[str]) -> list[tuple[int, str]]:
    plain = found["readings"][""]

    def most(place: int) -> float:
        """Of any language's text, at any layer or in itself."""
        of_text = (plain[code]["text"][place] / plain[code]["tokens"] for code in languages)
        of_layers = (
            _share(plain[code], layer, place)
            for code in languages
            for layer in range(len(plain[code]["nll"]))
        )
        return float(max(*of_text, *of_layers))

    return [
        (place, script)
        for place, script in enumerate(found["scripts"])
        if most(place) >= _LEAST_SHARE
    ]


def _nll(reading: Reading, layer: int) -> float:
    return float(reading["nll"][layer] / reading["tokens"])


def _agreed(reading: Reading, layer: int) -> float:
    return float(reading["agreed"][layer] / reading["tokens"])


def _share(reading: Reading, layer: int, script: int) -> float:
    return float(reading["shares"][layer][script] / reading["tokens"])


def _tokens(plain: Mapping[str, Reading]) -> str:
    counts = sorted({reading["tokens"] for reading in plain.values()})
    span = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"The residual stream after each layer, through the last norm and head; {span} tokens."
