"""Turning the strings of interfaces and help pages into text.

Placeholders stay as they are, for the cleaning step of that name to compare. What only a program
needs goes: marks of accelerator keys, tags and entities.
"""

from __future__ import annotations

import html
import re

from nsmt.data.text import collapse_whitespace

# Tags of HTML, Pango and KDE's text markup. Others, such as <file>, are placeholders.
_TAGS = [
    "a",
    "abbr",
    "application",
    "b",
    "bcode",
    "big",
    "blockquote",
    "body",
    "br",
    "center",
    "code",
    "command",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "email",
    "emphasis",
    "envar",
    "filename",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "hr",
    "html",
    "i",
    "icode",
    "img",
    "interface",
    "item",
    "kbd",
    "li",
    "link",
    "list",
    "message",
    "meta",
    "nobr",
    "note",
    "nowiki",
    "numid",
    "ol",
    "p",
    "para",
    "placeholder",
    "pre",
    "qt",
    "resource",
    "s",
    "samp",
    "shortcut",
    "small",
    "span",
    "strong",
    "style",
    "sub",
    "subtitle",
    "sup",
    "table",
    "tbody",
    "td",
    "th",
    "thead",
    "title",
    "tr",
    "tt",
    "u",
    "ul",
    "var",
    "warning",
    "wbr",
]
_TAG = re.compile(rf"</?(?:{'|'.join(_TAGS)})(?:\s[^<>]*)?/?>", re.IGNORECASE)
_BREAKING = re.compile(r"<(?:/?(?:p|div|li|tr|td|th|h[1-6]|ul|ol|dd|dt)\b[^<>]*|br\s*/?)>", re.I)
_ANY_TAG = re.compile(r"<[^<>]*>")
# "(_F)": how languages without Latin letters give the accelerator of a label.
_APPENDED = re.compile(r"\s*\([_&~][A-Za-z0-9]\)")
_ENTITY = r"#?\w+;"
_AMPERSAND = re.compile(rf"&(?!{_ENTITY})(?=\w)")
_TILDE = re.compile(r"(?<![^\s\w(])~(?=\w)")
_UNDERSCORE = re.compile(r"_(?=\w)")
_WORD_START = re.compile(r"(?:^|(?<=[\s(]))_(?=\w)")
_LONGEST_LABEL = 5  # words


def without_tags(text: str) -> str:
    """Without the tags that are known as markup, entities resolved."""
    if "<" in text:
        text = _TAG.sub("", _BREAKING.sub(" ", text))
    return html.unescape(text) if "&" in text else text


def without_any_tags(text: str) -> str:
    """The text of a piece of HTML."""
    return html.unescape(_ANY_TAG.sub("", _BREAKING.sub(" ", text)))


def has_underscore_accelerator(text: str) -> bool:
    """Whether the one underscore of a label marks a key, as in "Save _As", not "file_name"."""
    if len(_UNDERSCORE.findall(text)) != 1 or "://" in text:
        return False
    return bool(_WORD_START.search(text)) or (
        len(text.split()) <= _LONGEST_LABEL and text.replace("_", "").replace(" ", "").isalpha()
    )


def without_accelerator(text: str, *, underscore: bool = False) -> str:
    """Without the mark of an accelerator key: one &, && or ~, or one _ if that is meant here."""
    text = _APPENDED.sub("", text.replace("&&", "&"))
    for mark in (_AMPERSAND, _TILDE):
        if len(mark.findall(text)) == 1:
            text = mark.sub("", text)
    if underscore and len(_UNDERSCORE.findall(text)) == 1:
        text = _UNDERSCORE.sub("", text)
    return text


def interface_text(text: str, *, underscore: bool = False) -> str:
    """A label or message of an interface as text; `underscore` if one marks its accelerator."""
    return collapse_whitespace(without_tags(without_accelerator(text, underscore=underscore)))


def paragraphs(text: str) -> list[str]:
    """The parts between blank lines."""
    return [part for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def wiki_text(text: str) -> str:
    """A MediaWiki message as text: links by what they show, of alternatives one."""
    # From the inside out, for they nest.
    for _ in range(4):
        text, plurals = _PLURAL.subn(_last_form, text)
        text, genders = _GENDER.subn(_first_form, text)
        if not plurals + genders:
            break
    text = _INTERNAL_LINK.sub(lambda match: match[2] or match[1], text)
    text = _EXTERNAL_LINK.sub(r"\1", text)
    return collapse_whitespace(without_tags(_MARKS.sub("", text)))


_PLURAL = re.compile(r"\{\{PLURAL:[^{}|]*\|([^{}]*)\}\}", re.IGNORECASE)
_GENDER = re.compile(r"\{\{GENDER:[^{}|]*\|([^{}]*)\}\}", re.IGNORECASE)
_INTERNAL_LINK = re.compile(r"\[\[([^\[\]|]*)(?:\|([^\[\]]*))?\]\]")
_EXTERNAL_LINK = re.compile(r"\[(?:https?:|//|\$\d|\{\{)[^\s\[\]]*\s([^\[\]]+)\]")
# Of lists and headings, at the start of a line; of bold and italic text.
_MARKS = re.compile(r"^[*#:;=]+\s*|''+|=+$", re.MULTILINE)


def _last_form(match: re.Match[str]) -> str:
    # The last form is the general one; "12=a dozen" is for one number alone.
    forms = [form for form in match[1].split("|") if not re.match(r"\d+=", form)]
    return forms[-1] if forms else ""


def _first_form(match: re.Match[str]) -> str:
    return match[1].split("|")[0]
