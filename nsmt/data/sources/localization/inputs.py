"""Which packages there will be: what was fetched, what was skipped and why, and the freeze file.

Archives of distributions roll. The freeze file in the cache names every package by version and
content, so that preparing again takes the same ones; another machine can be held to it, too.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from nsmt.data.sources.localization.origins import OriginName
from nsmt.data.sources.localization.origins.base import Client
from nsmt.errors import DataError
from nsmt.files import replace_text, sha256
from nsmt.settings import Settings


class Package(Settings):
    """One fetched file; `languages` is empty where it is for any."""

    origin: OriginName
    client: Client
    name: str
    version: str
    file: str
    sha256: str
    bytes: int
    languages: tuple[str, ...] = ()


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
        """Read a freeze file; anything else is a DataError."""
        try:
            found = cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{path} is no freeze file of localization: {str(error).splitlines()[0]}",
                fix="set data.frozen to a file written by a preparation, or delete this one",
            ) from None
        for package in found.packages:
            if Path(package.file).name != package.file or package.file.startswith("."):
                raise DataError(
                    f"{path}: the package file '{package.file}' leads out of the cache",
                    fix="use a freeze file written by a preparation",
                )
        return found


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
