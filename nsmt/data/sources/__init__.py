"""Where parallel text comes from: one module a corpus family, one interface."""

from __future__ import annotations

from typing import Annotated, assert_never

from pydantic import Field

from nsmt.data.sources.base import ParallelSource
from nsmt.data.sources.bible8 import Bible8Settings, Bible8Source
from nsmt.data.sources.files import FilesSettings, FilesSource
from nsmt.data.sources.synthetic import SyntheticSettings, SyntheticSource

__all__ = ["DataSettings", "ParallelSource", "make_source"]

DataSettings = Annotated[
    Bible8Settings | FilesSettings | SyntheticSettings, Field(discriminator="source")
]


def make_source(settings: DataSettings) -> ParallelSource:
    """The source that a configuration names; a ConfigurationError if it cannot serve it."""
    match settings:
        case Bible8Settings():
            return Bible8Source(settings)
        case FilesSettings():
            return FilesSource(settings)
        case SyntheticSettings():
            return SyntheticSource(settings)
        case _:
            assert_never(settings)
