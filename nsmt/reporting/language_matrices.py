"""Results of language models as matrices, for tables and figures.

Shape suffixes: L languages, N neurons of all sites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from nsmt.languages import Language
from nsmt.neurons.atlas import NeuronAtlas

# Nats a token by change and language.
Means = Mapping[str, Mapping[str, float]]
Floats = npt.NDArray[np.float64]


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


def families_of(languages: Sequence[str], known: Mapping[str, Language]) -> list[str]:
    """The family of each."""
    return [known[language].family for language in languages]


def harm(means: Means, languages: Sequence[str], *, kind: str = "") -> Floats:
    """What neurons of a language (row), switched off, add to the nats a token of each (column)."""
    return np.array(
        [
            [means[f"{kind} {off}" if kind else off][on] - means[""][on] for on in languages]
            for off in languages
        ]
    )
