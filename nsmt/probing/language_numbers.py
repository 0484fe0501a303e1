"""What is found and known of languages and of pairs of them, and what goes with what.

Shape suffixes: L languages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from nsmt.languages import Language
from nsmt.neurons.overlap import whole_iou
from nsmt.probing.language_facts import known_places, relation_matrix, resource_class
from nsmt.probing.language_matrices import harm, members, success, token_means
from nsmt.probing.language_relations import correlated, pair_groups, related
from nsmt.probing.ranks import Floats
from nsmt.steering.interventions import LanguageNeurons

# Numbers of languages, by what they are.
Numbers = dict[str, dict[str, float]]


def language_relations(
    neurons: LanguageNeurons,
    results: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Language],
) -> dict[str, Any]:
    """Pairs of languages by family and script, Mantel's tests, and correlations: plain data.

    `results` are by step; what was not measured is left out.
    """
    codes = neurons.atlas.tasks
    matrices = pair_matrices(neurons, results)
    measured, given = measures(neurons, results), properties(codes, results, known)
    tests = {name: related(matrix, codes, known) for name, matrix in matrices.items()}
    return {
        "pairs": {
            name: {
                group: {"pairs": count, "mean": mean}
                for group, (count, mean) in pair_groups(matrix, codes, known).items()
            }
            for name, matrix in matrices.items()
        },
        "relations": [
            {"of": name, "against": relation, "languages": count} | asdict(test)
            for name, of_matrix in tests.items()
            for relation, (count, test) in of_matrix.items()
        ],
        "measured": measured,
        "known": given,
        "correlations": [
            {"of": one, "against": other, "languages": tested[0]} | asdict(tested[1])
            for one, left in measured.items()
            for other, right in given.items()
            if (tested := correlated(left, right)) is not None
        ],
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
