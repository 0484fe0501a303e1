"""This room's files: tensors as safetensors, all else as checked JSON in the header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from safetensors import safe_open
from torch import Tensor

from nsmt.errors import AtlasError, NsmtError
from nsmt.files import replace_file
from nsmt.settings import Settings
from nsmt.tensors import save_tensors


class TaskHeader(Settings):
    """What the tensors of a file are about."""

    format: str
    version: int
    tasks: tuple[str, ...]
    provenance: dict[str, Any]


class Header(TaskHeader):
    """The same for tensors of sites."""

    sites: tuple[tuple[str, int], ...]


HeaderType = TypeVar("HeaderType", bound=TaskHeader)


def write_tensors(path: Path, header: TaskHeader, tensors: Mapping[str, Tensor]) -> None:
    """Write a file whole or not at all."""
    on_host = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with replace_file(path) as building:
        save_tensors(building, on_host, metadata={"nsmt": header.model_dump_json()})


def read_tensors(
    path: Path, schema: type[HeaderType], *, format_name: str, version: int | tuple[int, ...]
) -> tuple[HeaderType, dict[str, Tensor]]:
    """Read one of this room's safetensors files and its JSON header, checked for format.

    `version` is the one that is read, or all of them.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("nsmt", "{}")
            header = dict(json.loads(text))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise AtlasError(f"no file {path}", fix="run `nsmt identify` to make one") from None
    except NsmtError:
        # A signal that asks to stop.
        raise
    except Exception as error:
        raise AtlasError(f"{path} cannot be read: {error}", fix="make it again") from error
    if header.get("format") != format_name:
        found = header.get("format", "something else")
        raise AtlasError(f"{path} holds {found}, not {format_name}", fix="name another file")
    read = version if isinstance(version, tuple) else (version,)
    if header.get("version") not in read:
        raise AtlasError(
            f"{path} has version {header.get('version')} of its format, "
            f"this release reads {' and '.join(map(str, read))}",
            fix="make it again with this release",
        )
    try:
        return schema.model_validate_json(text), tensors
    except ValidationError as error:
        raise AtlasError(
            f"the header of {path} is damaged: {error}", fix="make it again"
        ) from error
