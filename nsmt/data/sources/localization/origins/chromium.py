"""The interface of Chromium: resource packs (.pak), aligned by resource id.

Ids are numbered anew for every version, so that the version is part of the key: packages of
unequal versions align with nothing instead of wrongly.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

from nsmt.data.sources.archives import deb_members, reading
from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.markup import interface_text
from nsmt.data.sources.localization.origins.base import Client, Entry, Request, Wanted

_PACK = re.compile(r".*/locales/(?P<locale>[A-Za-z0-9-]+)\.pak")
_VERSION, _UTF8, _HEADER, _ENTRY = 5, 1, 12, 6
_GZIP = b"\x1f\x8b"


class Chromium:
    """Packages chromium-common (English) and chromium-l10n."""

    name, licence, revision = "chromium", "BSD-3-Clause", 1
    client: Client = "apt"

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:  # noqa: ARG002
        """Two packages for all languages."""
        names = ("chromium-common", "chromium-l10n")
        return [Request(name) for name in names if name in offered]

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The strings of the wanted packs."""
        version = archive.name.split("_")[1]
        for member in deb_members(archive):
            match = _PACK.fullmatch(member.path)
            locale = normal_locale(match["locale"]) if match else None
            if match and locale and wanted(locale):
                with reading(archive, member.path):
                    strings = list(read_pack(member.read()))
                for resource, text in strings:
                    yield Entry(locale, f"{version}:{resource}", interface_text(text))


def read_pack(content: bytes) -> Iterator[tuple[int, str]]:
    """The numbered strings of a resource pack of format 5 in UTF-8; other data is left out."""
    version, encoding, count, _ = struct.unpack_from("<IB3xHH", content)
    if version != _VERSION or encoding != _UTF8:
        raise ValueError(f"resource packs of format {version} and encoding {encoding} are unknown")
    entries = [
        struct.unpack_from("<HI", content, _HEADER + _ENTRY * index) for index in range(count + 1)
    ]
    if entries[-1][1] > len(content):
        raise ValueError("a string lies outside of the file")
    for (resource, start), (_, end) in pairwise(entries):
        data = content[start:end]
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            continue  # a compressed page, not a string
        # Pages and scripts of the browser itself lie beside its strings.
        if not text.lstrip().startswith(("<!", "<html", "{", "//", "/*")):
            yield resource, text
