"""The messages of MediaWiki and its extensions, aligned by folder and message name."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from nsmt.data.sources.archives import deb_members, reading
from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.markup import wiki_text
from nsmt.data.sources.localization.origins.base import Client, Entry, Request, Wanted

_FILE = re.compile(r"(?P<folder>.*/i18n(?:/.*)?)/(?P<locale>[^/.]+)\.json")


class MediaWiki:
    """One package for all languages."""

    name, licence, revision = "mediawiki", "GPL-2.0-or-later", 1
    client: Client = "apt"

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:  # noqa: ARG002
        """The package."""
        return [Request("mediawiki")] if "mediawiki" in offered else []

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The messages of the wanted locales."""
        for member in deb_members(archive):
            match = _FILE.fullmatch(member.path)
            locale = normal_locale(match["locale"]) if match else None
            if match and locale and wanted(locale):
                with reading(archive, member.path):
                    messages = json.loads(member.read())
                for name, text in messages.items():
                    # "@metadata" holds the translators.
                    if isinstance(text, str) and not name.startswith("@"):
                        yield Entry(locale, f"{match['folder']}\x04{name}", wiki_text(text))
