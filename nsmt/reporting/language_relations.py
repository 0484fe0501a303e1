"""What language neurons go with: family, script, word order, resources; tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nsmt.languages import Language
from nsmt.neurons.overlap import whole_iou
from nsmt.probing.language_facts import known_places, relation_matrix, resource_class
from nsmt.probing.language_relations import correlated, pair_groups, related
from nsmt.probing.ranks import PermutationTest
from nsmt.reporting.language_matrices import Floats, harm, members, success, token_means
from nsmt.reporting.tables import MISSING, Table
from nsmt.steering.interventions import LanguageNeurons

# Numbers of languages, by what they are.
Numbers = dict[str, dict[str, float]]
_SOURCES = (
    "Resource class: Joshi et al. 2020, 0 to 5. Word order in common: the share of five orders of "
    "WALS that a language has in common with each other one, on average. Tokens a character of "
    "held-out text; nats a character are those a token times that."
)
_COUNTS = ("neurons", "resource class")
_UNCORRECTED = "p is not corrected for the number of tests."


def relation_tables(
    neurons: LanguageNeurons,
    results: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Language],
) -> dict[str, Table]:
    """Pairs of languages by family and script, Mantel's tests, and correlations of numbers."""
    codes = neurons.atlas.tasks
    matrices = pair_matrices(neurons, results)
    measured, given = measures(neurons, results), properties(codes, results, known)
    return {
        "families": _pair_table(matrices, codes, known),
        "relations": _relation_table(matrices, codes, known),
        "resources": _language_table(measured | given, codes),
        "correlations": _correlation_table(measured, given),
    }


def pair_matrices(
    neurons: LanguageNeurons, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, Floats]:
    """What is known of every two languages."""
    codes = neurons.atlas.tasks
    found = {"IoU of neurons": whole_iou(neurons.atlas).numpy()}
    if "perplexity" in results:
        found["harm (nats a token)"] = harm(token_means(results["perplexity"]), codes)
    if "forcing" in results:
        found["forced answers"] = success(results["forcing"]["forced"], codes)
    return found


def measures(neurons: LanguageNeurons, results: Mapping[str, Mapping[str, Any]]) -> Numbers:
    """What was found for each language."""
    codes = neurons.atlas.tasks
    found = {"neurons": members(neurons.atlas).sum(1).astype(float)}
    if "perplexity" in results:
        found["harm to itself"] = harm(token_means(results["perplexity"]), codes).diagonal()
    if "forcing" in results:
        into_LL = success(results["forcing"]["forced"], codes)
        others = len(codes) - 1
        found["forced into"] = (into_LL.sum(0) - into_LL.diagonal()) / others
    return {name: dict(zip(codes, row.tolist(), strict=True)) for name, row in found.items()}


def properties(
    codes: Sequence[str],
    results: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Language],
) -> Numbers:
    """What is known of each language, and how well the model reads it."""
    found: Numbers = {
        "resource class": {
            code: float(level) for code in codes if (level := resource_class(code)) is not None
        },
        "word order in common": _mean_nearness(codes, known),
    }
    if "fertility" in results:
        found["tokens a character"] = tokens = {
            code: each["tokens"] / each["characters"] for code, each in results["fertility"].items()
        }
        if "perplexity" in results:
            plain = token_means(results["perplexity"])[""]
            found["nats a character"] = {code: plain[code] * tokens[code] for code in codes}
    return found


def _mean_nearness(codes: Sequence[str], known: Mapping[str, Language]) -> dict[str, float]:
    near_LL = relation_matrix(codes, "word order in common", known)
    kept = known_places(near_LL)
    if len(kept) < 2:
        return {}
    some_LL = near_LL[np.ix_(kept, kept)]
    mean_L = (some_LL.sum(1) - some_LL.diagonal()) / (len(kept) - 1)
    return {codes[place]: float(mean) for place, mean in zip(kept, mean_L, strict=True)}


def _pair_table(
    matrices: Mapping[str, Floats], codes: Sequence[str], known: Mapping[str, Language]
) -> Table:
    groups = {name: pair_groups(matrix, codes, known) for name, matrix in matrices.items()}
    first = next(iter(groups.values()))
    rows = [
        [group, str(count), *(_number(of_matrix[group][1]) for of_matrix in groups.values())]
        for group, (count, _) in first.items()
    ]
    note = "Means over pairs of languages, both ways."
    return Table(
        "Pairs of languages by family and script", ["pairs", "number", *matrices], rows, [note]
    )


def _relation_table(
    matrices: Mapping[str, Floats], codes: Sequence[str], known: Mapping[str, Language]
) -> Table:
    rows = [
        [name, relation, str(count), *_test(test)]
        for name, matrix in matrices.items()
        for relation, (count, test) in related(matrix, codes, known).items()
    ]
    note = "Spearman's rho over pairs; Mantel's test, one-sided. The relations go together."
    return Table(
        "Do related languages go together?",
        ["of every two languages", "against", "languages", "rho", "p"],
        rows,
        [note, _UNCORRECTED],
    )


def _language_table(numbers: Numbers, codes: Sequence[str]) -> Table:
    columns = [(of, ".0f" if name in _COUNTS else ".3f") for name, of in numbers.items()]
    rows = [[code, *(_number(of.get(code), form) for of, form in columns)] for code in codes]
    return Table("Languages in numbers", ["language", *numbers], rows, [_SOURCES])


def _correlation_table(measured: Numbers, known: Numbers) -> Table:
    rows = [
        [one, other, str(tested[0]), *_test(tested[1])]
        for one, left in measured.items()
        for other, right in known.items()
        if (tested := correlated(left, right)) is not None
    ]
    note = "Spearman's rho; two-sided p by permutations, all of them up to 8 languages."
    return Table(
        "What goes with a language's numbers?",
        ["of each language", "against", "languages", "rho", "p"],
        rows,
        [note, _UNCORRECTED],
    )


def _number(value: float | None, form: str = ".3f") -> str:
    return MISSING if value is None else format(value, form)


def _test(test: PermutationTest) -> tuple[str, str]:
    if test.correlation is None or test.p is None:
        return MISSING, MISSING
    return f"{test.correlation:+.2f}", f"{test.p:.3f}"
