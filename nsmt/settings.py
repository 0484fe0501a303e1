"""The base of every typed configuration schema.

Each room declares the settings it needs beside the code that reads them; `nsmt.commands` joins
them to the configuration of a whole run. Pydantic checks them all at once (docs/decisions/0002).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
ABSENT: Final = "nothing"


class Settings(BaseModel):
    """An immutable, strictly typed group of settings in which an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False
    )


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], *, prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    """The dotted keys of nested settings whose values differ, in order, with both values."""
    old, new = dict(flat(before, prefix)), dict(flat(now, prefix))
    return {
        key: (old.get(key, ABSENT), new.get(key, ABSENT))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    }


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested settings, dotted, with its value."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
