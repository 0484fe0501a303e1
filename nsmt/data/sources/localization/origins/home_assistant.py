"""The translations of Home Assistant: nested JSON, aligned by component and path."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar

from nsmt.data.sources.archives import reading, zip_members
from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.markup import interface_text
from nsmt.data.sources.localization.origins.base import Client, Entry, Request, Wanted
from nsmt.data.sources.localization.origins.vscode import leaves

_FILE = re.compile(
    r"homeassistant/components/(?P<component>.+)/translations/(?P<locale>[^/.]+)\.json"
)


class HomeAssistant:
    """One wheel for all languages."""

    name, licence, revision = "home_assistant", "Apache-2.0", 1
    client: Client = "pip"
    # It is read, not run: its own Python may be newer than ours.
    options: ClassVar = ("--ignore-requires-python", "--python-version", "3.14")

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:  # noqa: ARG002
        """The wheel."""
        return [Request("homeassistant", "2026.11.0")]

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The strings of every component."""
        for member in zip_members(archive):
            match = _FILE.fullmatch(member.path)
            locale = normal_locale(match["locale"]) if match else None
            if match and locale and wanted(locale):
                with reading(archive, member.path):
                    tree = json.loads(member.read())
                for key, text in leaves(tree):
                    yield Entry(locale, f"{match['component']}\x04{key}", interface_text(text))
