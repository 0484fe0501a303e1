"""Where parallel text comes from: one module a corpus family, one interface."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, assert_never

from pydantic import Field

from nsmt.data.sources.base import ParallelSource
from nsmt.data.sources.bible8 import Bible8Settings, Bible8Source
from nsmt.data.sources.ec30 import Ec30Settings, Ec30Source
from nsmt.data.sources.evaluation_sets import (
    WithEvaluationSets,
    evaluated_pairs,
    open_sets,
)
from nsmt.data.sources.files import FilesSettings, FilesSource
from nsmt.data.sources.huggingface import HuggingFaceSettings, HuggingFaceSource
from nsmt.data.sources.iwslt14 import Iwslt14Settings, Iwslt14Source
from nsmt.data.sources.localization import LocalizationSettings, LocalizationSource
from nsmt.data.sources.synthetic import SyntheticSettings, SyntheticSource
from nsmt.languages import Direction

__all__ = ["DataSettings", "ParallelSource", "make_source"]

DataSettings = Annotated[
    Bible8Settings
    | Ec30Settings
    | FilesSettings
    | HuggingFaceSettings
    | Iwslt14Settings
    | LocalizationSettings
    | SyntheticSettings,
    Field(discriminator="source"),
]


def make_source(settings: DataSettings) -> ParallelSource:
    """The source that a configuration names, with its evaluation sets; it may refuse its settings.

    Raises ConfigurationError or DataError if the source cannot serve what is asked for.
    """
    sets = open_sets(settings, valid=settings.valid_set, test=settings.test_set)
    source = _training_source(settings, evaluated=evaluated_pairs(settings, sets))
    return WithEvaluationSets(source, sets) if sets else source


def _training_source(settings: DataSettings, *, evaluated: Collection[Direction]) -> ParallelSource:
    """`evaluated` are pairs whose text may come from an evaluation set alone."""
    match settings:
        case Bible8Settings():
            return Bible8Source(settings)
        case Ec30Settings():
            return Ec30Source(settings, evaluated=evaluated)
        case FilesSettings():
            return FilesSource(settings, evaluated=evaluated)
        case HuggingFaceSettings():
            return HuggingFaceSource(settings, evaluated=evaluated)
        case Iwslt14Settings():
            return Iwslt14Source(settings, evaluated=evaluated)
        case LocalizationSettings():
            return LocalizationSource(settings)
        case SyntheticSettings():
            return SyntheticSource(settings)
        case _:
            assert_never(settings)
