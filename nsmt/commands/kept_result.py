"""Results that are measured once: read again for the key that decided them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from nsmt.errors import DataError


def kept_result(
    path: Path, key: Mapping[str, Any], *, parts: Set[str] = frozenset({"result"})
) -> dict[str, Any] | None:
    """The result that is there, if it is of the same key; a DataError if it is damaged.

    It is an object with "key" and `parts`; one that lacks a part is of an older version.
    """
    kept = any_kept(path)
    same = kept is not None and kept["key"] == key and kept.keys() >= parts
    return kept if same else None


def any_kept(path: Path) -> dict[str, Any] | None:
    """The result that is there, of whatever key; a DataError if it is damaged."""
    if not path.is_file():
        return None
    try:
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kept["key"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged: it holds no result", fix="delete it, to measure again"
        ) from error
    return kept
