"""One table a language and origin: the text by what aligns it, sorted, compressed, in the cache.

Packages are taken apart one by one, each into one file a locale; an interrupted extraction goes
on with the next package. Then the packages' best locales for each language are merged and sorted,
so that two languages are joined by reading both tables side by side.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import zstandard

from nsmt.data.sources.localization.inputs import Package, place
from nsmt.data.sources.localization.locales import best_locale, rank
from nsmt.data.sources.localization.origins import Origin
from nsmt.data.text import digest
from nsmt.files import replace_folder, replace_text

# Raised when all tables are to be made anew.
LAYOUT = 1
_COUNTS = "strings.json"
_KEY_DIGITS = 20


class Tables:
    """The tables of one origin's packages in some languages."""

    def __init__(
        self, origin: Origin, packages: Sequence[Package], codes: Collection[str], cache: Path
    ) -> None:
        self._origin, self._packages, self._cache = origin, packages, cache
        self._codes = sorted(set(codes))
        content = [LAYOUT, origin.revision, self._codes, [each.sha256 for each in packages]]
        fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
        self._folder = cache / "extracted" / f"{origin.name}-{fingerprint}"

    @property
    def complete(self) -> bool:
        """Whether the tables are there."""
        return (self._folder / _COUNTS).is_file()

    def counts(self) -> dict[str, int]:
        """The number of strings by language."""
        found: dict[str, int] = json.loads((self._folder / _COUNTS).read_bytes())
        return found

    def build(self, restore: Callable[[Package], None], advance: Callable[[], None]) -> None:
        """Make the tables; `restore` puts a package in place, `advance` is called after each."""
        work = self._folder.with_name(f".{self._folder.name}.work")
        parts = []
        for package in self._packages:
            part = work / package.sha256[:16]
            if not part.is_dir():
                restore(package)
                with replace_folder(part) as building:
                    self._take_apart(place(self._cache, package), building)
            parts.append(part)
            advance()
        with replace_folder(self._folder) as building:
            counts = {code: _merge(parts, code, building / f"{code}.zst") for code in self._codes}
            held = {code: count for code, count in counts.items() if count}
            replace_text(building / _COUNTS, json.dumps(held, indent=1) + "\n")
        shutil.rmtree(work)

    def join(self, source: str, target: str) -> Iterator[tuple[str, str]]:
        """The texts of two languages that have the same key, in the order of keys."""
        paths = [self._folder / f"{code}.zst" for code in (source, target)]
        if not all(path.is_file() for path in paths):
            return
        with ExitStack() as files:
            left, right = (iter(_rows(path, files)) for path in paths)
            a, b = next(left, None), next(right, None)
            while a is not None and b is not None:
                if a[0] == b[0]:
                    yield a[1], b[1]
                    a, b = next(left, None), next(right, None)
                elif a[0] < b[0]:
                    a = next(left, None)
                else:
                    b = next(right, None)

    def _take_apart(self, archive: Path, folder: Path) -> None:
        def wanted(locale: str) -> bool:
            return any(rank(code, locale) is not None for code in self._codes)

        with ExitStack() as files:
            open_files: dict[str, io.TextIOBase] = {}
            for locale, key, text in self._origin.entries(archive, wanted):
                if text and wanted(locale):
                    if locale not in open_files:
                        path = folder / f"{locale}.zst"
                        open_files[locale] = files.enter_context(
                            zstandard.open(path, "wt", encoding="utf-8", errors="ignore")
                        )
                    hashed = digest(key).hex()[:_KEY_DIGITS]
                    open_files[locale].write(f"{hashed}\t{text}\n")


def _merge(parts: Sequence[Path], code: str, path: Path) -> int:
    """Write the rows of a language, each key once, from the best locale of each package."""
    table: dict[str, str] = {}
    for part in parts:
        locale = best_locale(code, [each.stem for each in part.glob("*.zst")])
        if locale:
            with ExitStack() as files:
                for key, text in _rows(part / f"{locale}.zst", files):
                    table.setdefault(key, text)
    if table:
        with zstandard.open(path, "wt", encoding="utf-8", errors="ignore") as file:
            file.writelines(f"{key}\t{table[key]}\n" for key in sorted(table))
    return len(table)


def _rows(path: Path, files: ExitStack) -> Iterator[tuple[str, str]]:
    file = files.enter_context(zstandard.open(path, "rt", encoding="utf-8", newline="\n"))
    for line in file:
        key, _, text = line.rstrip("\n").partition("\t")
        yield key, text
