"""Compiled gettext catalogues (.mo): the interfaces of LibreOffice and of desktop applications.

English is in the catalogues themselves, as the key of each message. Messages of several paragraphs
are taken apart; where a translation has another number of them, it aligns with nothing. Of plural
forms the last one, the general one, is taken, and the first where there are two.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from nsmt.data.sources.archives import deb_members, reading
from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.markup import (
    has_underscore_accelerator,
    interface_text,
    paragraphs,
)
from nsmt.data.sources.localization.origins.base import (
    Client,
    Entry,
    Request,
    Wanted,
    by_locale,
)

_CATALOGUE = re.compile(r".*/(?P<locale>[^/]+)/LC_MESSAGES/(?P<domain>[^/]+)\.mo")
_MAGIC = 0x950412DE
# "?context:Text", "@title:window|Text": contexts within the message itself, in older catalogues.
_INNER_CONTEXT = re.compile(r"^\?[\w\- ]+:|^@\w+(?::\w+)?\|")
_CREDITS = frozenset({"translator-credits", "translator_credits", "Your names", "Your emails"})


class Message(NamedTuple):
    """One message: its key with the context, its English forms and its translated ones."""

    key: str
    english: list[str]
    translated: list[str]


class GettextCatalogues:
    """Packages with .mo files."""

    client: Client = "apt"
    revision = 1

    def __init__(
        self, name: str, licence: str, *, packages: Collection[str] = (), prefix: str = ""
    ) -> None:
        self.name, self.licence = name, licence
        self._packages, self._prefix = packages, prefix

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:
        """The packages of the prefix by language, or the given packages with all languages."""
        if self._prefix:
            # Any package holds English.
            return by_locale(self._prefix, [code for code in codes if code != "en"], offered)
        return [Request(name) for name in sorted(self._packages) if name in offered]

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The messages of every wanted catalogue, and each once in English."""
        seen: set[int] = set()
        for member in deb_members(archive):
            match = _CATALOGUE.fullmatch(member.path)
            locale = normal_locale(match["locale"]) if match else None
            if not match or not locale or not wanted(locale) or locale.startswith("en-"):
                continue
            with reading(archive, member.path):
                messages = read_catalogue(member.read())
            for message in messages:
                yield from _pairs(f"{match['domain']}\x04{message.key}", message, locale, seen)


def _pairs(key: str, message: Message, locale: str, seen: set[int]) -> Iterator[Entry]:
    count = len(message.translated)
    forms = [(len(message.english) - 1, count - 1)]
    if count == len(message.english) == 2:
        forms.insert(0, (0, 0))
    for source, target in forms:
        english = _INNER_CONTEXT.sub("", message.english[source])
        underscore = has_underscore_accelerator(english)
        hashed = hash((key, source))
        sides = [(locale, message.translated[target])]
        if hashed not in seen:
            seen.add(hashed)
            sides.append(("en", english))
        for side, text in sides:
            parts = paragraphs(text)
            for number, part in enumerate(parts):
                place = f"{key}\x04{source}\x04{number}/{len(parts)}"
                yield Entry(side, place, interface_text(part, underscore=underscore))


def read_catalogue(content: bytes) -> Iterator[Message]:
    """The translated messages of a .mo file.

    Raises:
        ValueError, struct.error: it is no .mo file, or damaged.
    """
    order = "<" if struct.unpack_from("<I", content)[0] == _MAGIC else ">"
    magic, version, count, originals, translations = struct.unpack_from(f"{order}5I", content)
    if magic != _MAGIC or version >> 16 > 1:
        raise ValueError("it is no catalogue of messages")
    messages = []
    for index in range(count):
        original = _string(content, order, originals + 8 * index)
        translated = _string(content, order, translations + 8 * index)
        message = original.rpartition("\x04")[2]
        if message and translated and message not in _CREDITS:
            messages.append(Message(original, message.split("\0"), translated.split("\0")))
    return iter(messages)


def _string(content: bytes, order: str, place: int) -> str:
    length, start = struct.unpack_from(f"{order}2I", content, place)
    if start + length > len(content):
        raise ValueError("a string lies outside of the file")
    return content[start : start + length].decode("utf-8", "replace")
