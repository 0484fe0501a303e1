"""The descriptions of an apt archive's packages: its Translation-LANG indices.

Aligned by the checksum of the English description, the paragraph and the item of a list within
it. The numbers of paragraphs and of items belong to the key, so that a translation that is
divided in another way aligns with nothing instead of wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.origins.base import Client, Entry, Request, Wanted
from nsmt.data.text import collapse_whitespace
from nsmt.errors import DataError

_FIELD = re.compile(r"(?P<name>[A-Za-z0-9-]+):\s*(?P<value>.*)")
_ITEM = re.compile(r"\s+(?:[-*+o•·–]|\d+[.)])\s+")


class PackageDescriptions:
    """One index a language and part of the archive; they come with `apt-get update`."""

    name, licence, revision = "package_descriptions", "of each package", 1
    client: Client = "apt-index"

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:  # noqa: ARG002
        """None beyond the indices that were fetched."""
        return [Request(name) for name in sorted(offered)]

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """Titles, paragraphs and items of lists."""
        locale = normal_locale(archive.name.rpartition("_Translation-")[2].replace("%5f", "_"))
        if locale is None or not wanted(locale):
            return
        for checksum, lines in _descriptions(archive):
            for key, text in units(lines):
                yield Entry(locale, f"{checksum}\x04{key}", text)


def _descriptions(index: Path) -> Iterator[tuple[str, list[str]]]:
    checksum, lines = "", list[str]()
    try:
        with index.open(encoding="utf-8") as file:
            for line in file:
                if line.startswith((" ", "\t")):
                    lines.append(line.rstrip("\n"))
                    continue
                match = _FIELD.match(line)
                if match is None or match["name"] == "Package":
                    if checksum and lines:
                        yield checksum, lines
                    checksum, lines = "", []
                elif match["name"] == "Description-md5":
                    checksum = match["value"].strip()
                elif match["name"].startswith("Description-"):
                    lines = [match["value"].strip()]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{index} is no UTF-8: {error}", fix="delete it and prepare again; it is damaged"
        ) from None
    if checksum and lines:
        yield checksum, lines


def units(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Title, paragraphs and list items of a description, with their places as keys."""
    yield "title", collapse_whitespace(lines[0])
    parts: list[list[str]] = [[]]
    for line in lines[1:]:
        if line.strip() == ".":
            parts.append([])
        else:
            parts[-1].append(line)
    parts = [part for part in parts if part]
    for place, part in enumerate(parts):
        items = _items(part)
        for number, item in enumerate(items):
            yield f"{place}/{len(parts)}.{number}/{len(items)}", collapse_whitespace(item)


def _items(lines: list[str]) -> list[str]:
    """One text of flowing lines; items of lists, and lines set as they are, apart."""
    items: list[str] = []
    hanging = False
    for line in lines:
        bullet = _ITEM.match(line)
        flowing = not line.startswith("  ")
        if bullet:
            items.append(line[bullet.end() :])
            hanging = True
        elif items and (hanging or flowing):
            items[-1] += " " + line
        else:
            items.append(line)
            hanging = False
    return items
