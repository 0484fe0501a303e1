"""The interfaces of Firefox and Thunderbird, aligned by file and message id.

Most of it is in Fluent files (.ftl), the rest in older .properties. Where a Fluent message refers
to a name such as the browser's, that is put in, in the grammatical case that is asked for; of
variants, by number or system, the default is taken. Variables stay placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from fluent.syntax import ast
from fluent.syntax import parse as parse_fluent

from nsmt.data.sources.archives import Member, deb_members, reading, zip_members
from nsmt.data.sources.localization.locales import normal_locale
from nsmt.data.sources.localization.markup import without_tags
from nsmt.data.sources.localization.origins.base import (
    Client,
    Entry,
    Request,
    Wanted,
    by_locale,
)
from nsmt.data.text import collapse_whitespace

_PACK = re.compile(r".*/langpack-(?P<locale>[A-Za-z-]+)@[^/]+\.xpi")
_FILE = re.compile(r"(?:.*/)?localization/[^/]+/(?P<file>.*\.ftl)")
_PROPERTIES = re.compile(r"(?:.*/)?chrome/[^/]+/locale/[^/]+/(?P<file>.*\.properties)")
_LINE = re.compile(r"^[ \t]*(?P<key>[^#!\s=:][^\s=:]*)[ \t]*[=:][ \t]*(?P<value>.*)$", re.MULTILINE)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_PRODUCTS = ("firefox-esr-l10n-", "thunderbird-l10n-")
_DEEPEST = 8  # references within references

Terms = Mapping[str, ast.Term]


class Mozilla:
    """Packages firefox-esr-l10n-LANG and thunderbird-l10n-LANG."""

    name, licence, revision = "mozilla", "MPL-2.0", 1
    client: Client = "apt"

    def requests(self, codes: Collection[str], offered: Collection[str]) -> list[Request]:
        """Two packages a language; Canadian English, for there is no other with both."""
        return [each for product in _PRODUCTS for each in by_locale(product, codes, offered)]

    def entries(self, archive: Path, wanted: Wanted) -> Iterator[Entry]:
        """The values and attributes of all messages."""
        product = archive.name.partition("-l10n-")[0]
        for member in deb_members(archive):
            match = _PACK.fullmatch(member.path)
            locale = normal_locale(match["locale"]) if match else None
            if match and locale and wanted(locale):
                with reading(archive, member.path):
                    content = member.read()
                for key, text in _strings(archive, zip_members(archive, content)):
                    yield Entry(locale, f"{product}\x04{key}", text)


def _strings(archive: Path, members: Iterator[Member]) -> Iterator[tuple[str, str]]:
    resources: dict[str, ast.Resource] = {}
    for member in members:
        if match := _FILE.fullmatch(member.path):
            with reading(archive, member.path):
                resources[match["file"]] = parse_fluent(member.read().decode())
        elif match := _PROPERTIES.fullmatch(member.path):
            with reading(archive, member.path):
                content = member.read().decode()
            for key, text in read_properties(content):
                yield f"{match['file']}\x04{key}", collapse_whitespace(without_tags(text))
    terms = {
        entry.id.name: entry
        for resource in resources.values()
        for entry in resource.body
        if isinstance(entry, ast.Term)
    }
    for file, resource in resources.items():
        for entry in resource.body:
            if isinstance(entry, ast.Message):
                for part, pattern in _patterns(entry):
                    text = collapse_whitespace(without_tags(rendered(pattern, terms)))
                    yield f"{file}\x04{entry.id.name}\x04{part}", text


def read_properties(content: str) -> Iterator[tuple[str, str]]:
    """The keys and texts of a .properties file; of plural forms, the last one."""
    for match in _LINE.finditer(re.sub(r"\\\r?\n[ \t]*", "", content)):
        if not match["key"].lower().endswith(("accesskey", ".key", "commandkey")):
            text = _ESCAPE.sub(_unescaped, match["value"])
            yield match["key"], text.rpartition(";")[2] if "#1" in text else text


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return " " if match[2] in "ntrf" else str(match[2])


def _patterns(message: ast.Message) -> Iterator[tuple[str, ast.Pattern]]:
    if message.value is not None:
        yield "", message.value
    for attribute in message.attributes:
        # One letter, or the name of a key, is no text.
        if not attribute.id.name.endswith(("accesskey", "key", "style")):
            yield attribute.id.name, attribute.value


def rendered(pattern: ast.Pattern, terms: Terms, case: str = "", depth: int = 0) -> str:
    """A pattern as text, in a grammatical case where it has variants for it."""
    return "".join(
        element.value
        if isinstance(element, ast.TextElement)
        else _expression(element.expression, terms, case, depth)
        for element in pattern.elements
    )


def _expression(expression: object, terms: Terms, case: str, depth: int) -> str:
    match expression:
        case ast.Placeable():
            return _expression(expression.expression, terms, case, depth)
        case ast.StringLiteral() | ast.NumberLiteral():
            return str(expression.parse()["value"])
        case ast.SelectExpression():
            return rendered(_variant(expression, case), terms, case, depth)
        case ast.TermReference() if expression.attribute is None and depth < _DEEPEST:
            term = terms.get(expression.id.name)
            if term is not None:
                return rendered(term.value, terms, _named_case(expression), depth + 1)
            return f"{{{expression.id.name}}}"
        case ast.FunctionReference():
            arguments = expression.arguments.positional
            return _expression(arguments[0], terms, case, depth) if arguments else ""
        case ast.VariableReference() | ast.MessageReference() | ast.TermReference():
            return f"{{{expression.id.name.replace('-', '_')}}}"
        case _:
            return ""


def _variant(expression: ast.SelectExpression, case: str) -> ast.Pattern:
    named = {
        variant.key.name: variant.value
        for variant in expression.variants
        if isinstance(variant.key, ast.Identifier)
    }
    default = next(variant.value for variant in expression.variants if variant.default)
    return named.get(case, default) if case else default


def _named_case(reference: ast.TermReference) -> str:
    """The first text among the arguments, such as "genitive" of `case: "genitive"`."""
    named = reference.arguments.named if reference.arguments else []
    values = [argument.value.value for argument in named]
    return str(values[0]) if values else ""
