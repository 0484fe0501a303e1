"""The help pages of LibreOffice, paragraph by paragraph, aligned by page and element id."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from html.parser import HTMLParser
from pathlib import Path

from nsmt.data.sources.archives import deb_members
from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.markup import without_any_tags
from nsmt.data.sources.localization.origins.base import (
    Client,
    Entry,
    Request,
    Wanted,
    by_locale,
)
from nsmt.data.text import collapse_whitespace

_PAGE = re.compile(r".*/help/(?P<locale>[^/]+)/(?P<page>text/.*\.html)")
_BLOCK = re.compile(
    r'<(?P<tag>p|h[1-6]|li|td|th|div)\s+id="(?P<id>(?:par|hd|tit|bm)_\w+)"[^>]*>(?P<html>.*?)</(?P=tag)>',
    re.DOTALL,
)


class LibreOfficeHelp:
    """Packages libreoffice-help-LANG."""

    name, licence, revision = "libreoffice_help", "MPL-2.0", 1
    client: Client = "apt"

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:
        """One package a language; English is -en-us."""
        return by_locale("libreoffice-help-", codes, offered)

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """Headings and paragraphs that have an id."""
        for member in deb_members(archive):
            match = _PAGE.fullmatch(member.path)
            locale = normal_locale(match["locale"]) if match else None
            if match and locale and wanted(locale):
                page = member.read().decode("utf-8", "replace")
                for block in _BLOCK.finditer(page):
                    text = collapse_whitespace(shown_text(block["html"]))
                    yield Entry(locale, f"{match['page']}#{block['id']}", text)


def shown_text(html: str) -> str:
    """The text of a paragraph as shown on a system that is not a Mac."""
    if "hidden" not in html:
        return without_any_tags(html)
    parser = _Shown()
    parser.feed(html)
    parser.close()
    return "".join(parser.text)


class _Shown(HTMLParser):
    """Leaves out the alternatives for one system; of each choice, the default is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._open: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "span":
            return
        attributes = dict(attrs)
        default = (attributes.get("id") or "").startswith("default")
        self._open.append("hidden" in attributes and not default)

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self._open:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if not any(self._open):
            self.text.append(data)
