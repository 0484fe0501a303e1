"""Archives of software as the clients would fetch them, made up in memory."""

import gzip
import io
import json
import lzma
import struct
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import zstandard

from nsmt.data.sources import clients
from nsmt.data.sources.clients import ClientError, Unavailable
from nsmt.data.sources.localization import LocalizationSettings, LocalizationSource
from nsmt.languages import Direction

ORIGINS = ("libreoffice_help", "vscode", "package_descriptions", "home_assistant")
EN_DE, DE_NL = Direction("en", "de"), Direction("de", "nl")
PAGE = '<h1 id="hd_id1">{}</h1><p id="par_id2" class="p">{}</p>'
HELP = {
    "en-us": PAGE.format("Cut &amp; paste", "Press <b>Enter</b> to go on."),
    "de": PAGE.format("Ausschneiden &amp; einfügen", "Mit <b>Enter</b> geht es weiter."),
    "nl": PAGE.format("Knippen &amp; plakken", "Druk op <b>Enter</b>."),
}
INDICES = {
    "en": "Package: a\nDescription-md5: 1\nDescription-en: a game\n Runs far.\n .\n Stops.\n",
    "de": "Package: a\nDescription-md5: 1\nDescription-de: ein Spiel\n Läuft weit.\n .\n Hält.\n",
}


def tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def deb(path: Path, members: dict[str, str | bytes], compression: str = "xz") -> Path:
    raw = tar({n: c.encode() if isinstance(c, str) else c for n, c in members.items()})
    compress = {
        "xz": lzma.compress,
        "gz": gzip.compress,
        "zst": zstandard.ZstdCompressor().compress,
    }[compression]
    content = b"!<arch>\n"
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": b"odd", "data.tar." + compression: b""}
    for name, part in parts.items():
        data = part or compress(raw)
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n"
        content += header.encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(content)
    return path


def catalogue(messages: dict[str, str], order: str = "<") -> bytes:
    strings = [*messages, *messages.values()]
    start, table, data = 28 + 8 * len(strings), b"", b""
    for text in strings:
        encoded = text.encode()
        table += struct.pack(f"{order}2I", len(encoded), start + len(data))
        data += encoded + b"\0"
    count = len(messages)
    head = struct.pack(f"{order}7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    return head + table + data


def pack(strings: dict[int, bytes]) -> bytes:
    start = 12 + 6 * (len(strings) + 1)
    table, data = b"", b""
    for resource, text in strings.items():
        table += struct.pack("<HI", resource, start + len(data))
        data += text
    table += struct.pack("<HI", 0, start + len(data))
    return struct.pack("<IB3xHH", 5, 1, len(strings), 0) + table + data


def zipped(members: dict[str, str]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


class Archives:
    """Stands in for apt-get, npm and pip, and counts what they were asked for."""

    def __init__(self) -> None:
        self.debs: dict[str, dict[str, str | bytes]] = {
            f"libreoffice-help-{code}": {
                f"./usr/share/libreoffice/help/{locale}/text/a/b.html": HELP[code]
            }
            for code, locale in (("en-us", "en-US"), ("de", "de"), ("nl", "nl"))
        }
        self.packs = {"de": ["Öffnen", "Schließen"], "qps-ploc": ["Øpëñ", "Çløsë"]}
        self.version = "4:1.0-1"
        self.missing: set[str] = set()
        self.failing: set[str] = set()
        self.calls: list[str] = []
        self.commands: list[list[str]] = []

    def run(self, command: Sequence[str], *, folder: Path) -> str:
        tool = "pip" if command[0] == sys.executable else command[0]
        self.calls.append(tool)
        self.commands.append([*command])
        if tool in self.missing:
            raise Unavailable(f"{tool} is not installed")
        if tool in self.failing:
            raise ClientError(f"{tool} failed: no network")
        if tool == "apt-cache":
            return "\n".join(self.debs)
        if tool == "npm":
            self._pack(command[command.index("--") + 1 :], folder)
        elif tool == "pip":
            content = {
                f"homeassistant/components/sun/translations/{code}.json": f'{{"a": {{"b": "{t}"}}}}'
                for code, t in (("en", "Rising sun"), ("de", "Aufgehende Sonne"))
            }
            (folder / "homeassistant-2026.11.0-py3-none-any.whl").write_bytes(zipped(content))
        elif command[3] == "update":
            for code, text in INDICES.items():
                name = f"host_debian_dists_stable_main_i18n_Translation-{code}"
                (folder / "lists" / name).write_text(text)
        elif "--print-uris" in command:
            return "".join(map(self._uri, command[command.index("--") + 1 :]))
        else:
            for requirement in command[command.index("--") + 1 :]:
                name, version = requirement.split("=")
                if version != self.version:
                    raise ClientError(f"apt-get failed: version {version} was not found")
                deb(folder / self._file(name), self.debs[name])
        return ""

    def _pack(self, requirements: Sequence[str], folder: Path) -> None:
        for requirement in requirements:
            name, version = requirement.rsplit("@", 1)
            script = f"var content = {json.dumps([None, *self.packs[name.split('pack-')[1]]])};"
            content = tar({"package/translations/main.i18n.json.js": script.encode()})
            (folder / clients.npm_file(name, version)).write_bytes(gzip.compress(content, mtime=0))

    def _file(self, name: str) -> str:
        return f"{name}_{self.version.replace(':', '%3a')}_all.deb"

    def _uri(self, name: str) -> str:
        return f"'http://host/{name}.deb' {self._file(name)} 10\n"


def source(**options: object) -> LocalizationSource:
    given = {"source": "localization", "pairs": ("en-de", "de-nl"), "origins": ORIGINS, **options}
    return LocalizationSource(LocalizationSettings(**given))


def prepared(cache: Path, **options: object) -> LocalizationSource:
    found = source(**options)
    found.settle(cache, progress=False)
    found.fetch(cache, progress=False)
    return found
