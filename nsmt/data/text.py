"""Text normal forms: the one that models read, and the key by which texts are recognised.

ZERO WIDTH JOINER and NON-JOINER are kept: Hindi conjuncts and Persian word forms are spelt with
them. Everything else that has no width (zero-width space, byte order mark, soft hyphen, direction
marks) and every control character goes.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from html.entities import html5

_JOINERS = "\u200c\u200d"
# &apos; &#91; and, as tokenisers leave them, & apos ; -- also escaped more than once: &amp;apos;
_ENTITY = re.compile(r"&(?:\s*amp\s*;)*\s*(#\s*[0-9]{1,7}|#\s*[xX][0-9a-fA-F]{1,6}|\w+)\s*;")


class _Invisible(dict[int, int | str | None]):
    """A translation table, filled as characters are met, that deletes what cannot be seen."""

    def __missing__(self, point: int) -> int | str | None:
        character = chr(point)
        if character.isspace():
            value: int | str | None = " "
        elif unicodedata.category(character) in {"Cc", "Cf", "Cs"} and character not in _JOINERS:
            value = None
        else:
            value = point
        self[point] = value
        return value


class _KeyTable(dict[int, int | None]):
    """A translation table that keeps letters, marks and numbers alone."""

    def __missing__(self, point: int) -> int | None:
        value = None if unicodedata.category(chr(point))[0] in "PSZC" else point
        self[point] = value
        return value


_INVISIBLE, _KEY = _Invisible(), _KeyTable()


def compose(text: str) -> str:
    """Unicode normal form C."""
    return unicodedata.normalize("NFC", text)


def remove_invisible(text: str) -> str:
    """Without control and zero-width characters other than joiners; any space becomes a space."""
    # Printable means none of them, and no space but U+0020; most text is.
    return text if text.isprintable() else text.translate(_INVISIBLE)


def collapse_whitespace(text: str) -> str:
    """Without spaces at the ends, and single spaces within."""
    return " ".join(text.split())


def normalise(text: str) -> str:
    """What the vocabulary reads: composed, visible, single-spaced. Idempotent."""
    return collapse_whitespace(compose(remove_invisible(text)))


def recognition_key(text: str) -> bytes:
    """128 bits, equal for texts that differ by case, punctuation, spacing or escaping at most."""
    if "&" in text:
        text = _ENTITY.sub(_character, normalise(text))
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = unicodedata.normalize("NFKC", folded.translate(_KEY))
    return digest(kept or normalise(folded))


def _character(entity: re.Match[str]) -> str:
    """What an entity of Moses, XML or HTML stands for; others lose the escaping of their &."""
    name = "".join(entity[1].split())
    if name.startswith("#"):
        return html.unescape(f"&{name};")
    return html5.get(f"{name};", f"&{name};")


def digest(*parts: str) -> bytes:
    """128-bit hash of some texts, aware of where each ends."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(len(encoded).to_bytes(8, "little"))
        hasher.update(encoded)
    return hasher.digest()
