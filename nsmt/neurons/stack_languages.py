"""Languages of an encoder-decoder: what its neurons do in each, out of statistics of directions.

A translation model is measured by direction. Its encoder works in the source language and its
decoder in the target language, so the directions that read a language are summed in the encoder and
those that write it in the decoder. The rules for languages of one text model
(`nsmt.neurons.language_rules`) then hold for each stack by itself: probabilities are compared among
the languages that the stack knows, and the bar of LAPE and its share of neurons are the stack's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.languages import Direction
from nsmt.neurons.sites import language_of
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.neurons.widths import wide


def languages_of_stack(statistics: ActivationStatistics, stack: str) -> ActivationStatistics:
    """The statistics of a stack's languages: sums over the directions that read or write each.

    Tasks are languages in the order of their first direction; sites are those of the stack. A stack
    that the statistics do not have is an AtlasError.
    """
    sites = [site for site in statistics.sites if site.stack == stack]
    if not sites:
        known = dict.fromkeys(site.stack for site in statistics.sites)
        raise AtlasError(
            f"the statistics say nothing of the {stack}", fix=f"use one of {', '.join(known)}"
        )
    of_direction = [language_of(Direction.parse(task), stack) for task in statistics.tasks]
    languages = list(dict.fromkeys(of_direction))
    row_T = torch.tensor([languages.index(language) for language in of_direction])

    def summed(values: Tensor) -> Tensor:
        # What was read from a file is narrow, and a sum of several may not fit.
        values = wide(values)
        sums = values.new_zeros(len(languages), *values.shape[1:])
        return sums.index_add_(0, row_T.to(values.device), values)

    found = ActivationStatistics(
        languages,
        sites,
        rule=statistics.rule,
        moments=list(statistics.moments),
        provenance={"languages_of": stack, "statistics": statistics.provenance},
    )
    for name in (site.name for site in sites):
        found.active[name] = summed(statistics.active[name])
        found.units[name] = summed(statistics.units[name])
        for kind, table in statistics.moments.items():
            found.moments[kind][name] = summed(table[name])
    return found
