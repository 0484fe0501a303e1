"""The base of every typed configuration schema.

Each room declares the settings it needs beside the code that reads them; `nsmt.commands` joins
them to the configuration of a whole run. Pydantic checks them all at once (docs/decisions/0002).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """An immutable, strictly typed group of settings in which an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False
    )
