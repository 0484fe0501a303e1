"""What language neurons go with: family, script, word order, resources; tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nsmt.reporting.tables import MISSING, Table

_SOURCES = (
    "Resource class: Joshi et al. 2020, 0 to 5. Word order in common: the share of five orders of "
    "WALS that a language has in common with each other one, on average. Tokens a character of "
    "held-out text; nats a character are those a token times that."
)
_COUNTS = ("neurons", "resource class")
_UNCORRECTED = "p is not corrected for the number of tests."


def relation_tables(found: Mapping[str, Any], codes: Sequence[str]) -> dict[str, Table]:
    """What `nsmt.probing.language_numbers` found: pairs, Mantel's tests, numbers, correlations."""
    return {
        "families": _pair_table(found["pairs"]),
        "relations": _relation_table(found["relations"]),
        "resources": _language_table(found["measured"] | found["known"], codes),
        "correlations": _correlation_table(found["correlations"]),
    }


def _pair_table(pairs: Mapping[str, Mapping[str, Any]]) -> Table:
    first = next(iter(pairs.values()))
    rows = [
        [
            group,
            str(of_group["pairs"]),
            *(_number(of_matrix[group]["mean"]) for of_matrix in pairs.values()),
        ]
        for group, of_group in first.items()
    ]
    note = "Means over pairs of languages, both ways."
    return Table(
        "Pairs of languages by family and script", ["pairs", "number", *pairs], rows, [note]
    )


def _relation_table(tests: Sequence[Mapping[str, Any]]) -> Table:
    note = "Spearman's rho over pairs; Mantel's test, one-sided. The relations go together."
    return Table(
        "Do related languages go together?",
        ["of every two languages", "against", "languages", "rho", "p"],
        [_tested(each) for each in tests],
        [note, _UNCORRECTED],
    )


def _language_table(numbers: Mapping[str, Mapping[str, float]], codes: Sequence[str]) -> Table:
    columns = [(of, ".0f" if name in _COUNTS else ".3f") for name, of in numbers.items()]
    rows = [[code, *(_number(of.get(code), form) for of, form in columns)] for code in codes]
    return Table("Languages in numbers", ["language", *numbers], rows, [_SOURCES])


def _correlation_table(tests: Sequence[Mapping[str, Any]]) -> Table:
    note = "Spearman's rho; two-sided p by permutations, all of them up to 8 languages."
    return Table(
        "What goes with a language's numbers?",
        ["of each language", "against", "languages", "rho", "p"],
        [_tested(each) for each in tests],
        [note, _UNCORRECTED],
    )


def _number(value: float | None, form: str = ".3f") -> str:
    return MISSING if value is None else format(value, form)


def _tested(test: Mapping[str, Any]) -> list[str]:
    """What was compared, of how many languages, with rho and p."""
    rho, p = _number(test["correlation"], "+.2f"), _number(test["p"])
    return [test["of"], test["against"], str(test["languages"]), rho, p]
