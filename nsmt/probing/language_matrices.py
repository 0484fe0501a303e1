"""Results of language models as matrices: what switching a language off, or forcing it, does.

Shape suffixes: L languages, N neurons of all sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.probing.ranks import Floats

# Nats a token by change and language.
Means = Mapping[str, Mapping[str, float]]


def members(atlas: NeuronAtlas) -> np.ndarray:
    """The neurons of each language, all sites side by side: bool [L, N]."""
    return np.concatenate([atlas.masks(site).numpy() for site in atlas.sites], axis=1)


def token_means(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Nats a token, by change and language, of the results of `perplexity`."""
    return {
        change: {language: each["nll"] / each["tokens"] for language, each in row.items()}
        for change, row in found.items()
    }


def kind_of(change: str) -> str:
    """ "random 1" of "random 1 de"; empty for a language's own neurons."""
    return change.rpartition(" ")[0]


def success(answers: Sequence[Mapping[str, Any]], languages: Sequence[str]) -> Floats:
    """The share of answers in the language wanted: [L, L] by language asked in and wanted."""
    hits: dict[tuple[str, str], list[bool]] = {}
    for answer in answers:
        hits.setdefault((answer["asked"], answer["wanted"]), []).append(
            answer["came"] == answer["wanted"]
        )
    return np.array([[fmean(hits[asked, wanted]) for wanted in languages] for asked in languages])


def harm(means: Means, languages: Sequence[str], *, kind: str = "") -> Floats:
    """What neurons of a language (row), switched off, add to the nats a token of each (column)."""
    return np.array(
        [
            [means[f"{kind} {off}" if kind else off][on] - means[""][on] for on in languages]
            for off in languages
        ]
    )


def own_and_other_harm(
    means: Means, languages: Sequence[str], *, kind: str = ""
) -> tuple[list[float], list[float]]:
    """For each language switched off: the change on its own text, and the mean on the others'."""
    harm_LL = harm(means, languages, kind=kind)
    apart_LL = ~np.eye(len(languages), dtype=bool)
    others_L = harm_LL.mean(1, where=apart_LL)
    return harm_LL.diagonal().tolist(), others_L.tolist()
