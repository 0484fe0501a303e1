"""Which rule chooses language neurons, by configuration; the rules are in `language_rules`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nsmt.neurons import language_rules
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.random_sets import permuted
from nsmt.neurons.selection import Percent
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings

LanguageRule = Literal["lape", "lave", "probability", "difference", "cumulative", "random"]


class LanguageSelectionSettings(Settings):
    """A rule and how many neurons it takes."""

    rule: LanguageRule = "lape"
    rate: Annotated[float, Field(ge=0, le=1)] = Field(
        0.01, description="of all neurons: the union of languages (lape, lave) or of each language"
    )
    percentile: Annotated[float, Field(gt=0, le=1)] = Field(
        language_rules.PERCENTILE, description="of all values: the bar of lape and lave"
    )
    k: Percent = 95.0
    seed: int = Field(1, description="of random: lape's, permuted at each site")


def select_languages(
    statistics: ActivationStatistics, settings: LanguageSelectionSettings
) -> NeuronAtlas:
    """Apply the configured rule."""
    rate, percentile = settings.rate, settings.percentile
    match settings.rule:
        case "lape":
            return language_rules.lape(statistics, rate=rate, percentile=percentile)
        case "lave":
            return language_rules.lave(statistics, rate=rate, percentile=percentile)
        case "probability":
            return language_rules.probability(statistics, rate=rate)
        case "difference":
            return language_rules.difference(statistics, rate=rate)
        case "cumulative":
            return language_rules.covering(statistics, percent=settings.k)
        case "random":
            found = language_rules.lape(statistics, rate=rate, percentile=percentile)
            return permuted(found, seed=settings.seed)
