"""The library `datasets` of Hugging Face, an extra: imported where something is read with it."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from nsmt.errors import ConfigurationError


def require_datasets(needed_by: str, *, instead: str | None = None) -> None:
    """A ConfigurationError if the library is missing; it is not imported, which takes a while."""
    if importlib.util.find_spec("datasets") is None:
        install = 'pip install "nsmt[huggingface]"'
        raise ConfigurationError(
            f"{needed_by} needs the library datasets",
            fix=f"{install}, or use {instead}" if instead else install,
        )


def datasets_library(needed_by: str, *, instead: str | None = None) -> ModuleType:
    """The library; a ConfigurationError if it is missing."""
    require_datasets(needed_by, instead=instead)
    return importlib.import_module("datasets")
