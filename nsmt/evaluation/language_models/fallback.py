"""Progressive fallback: language after language is switched off; which does the model turn to?

Source: Language Arithmetics (arXiv 2507.22608, released code): English questions, languages
switched off one after the other and together, and the language of each answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from nsmt.data.identification import Identifier, language_of

# As the released code switches languages off.
RELEASED: Final = ("en", "fr", "es", "it", "pt", "ru", "de", "ar", "zh", "ko", "ja")
Order = Literal["released", "listed", "outcome"]


@dataclass(frozen=True, slots=True)
class Level:
    """The languages that are off, in order; the answers, and the language of each.

    An answer without a letter is of no language: "".
    """

    off: tuple[str, ...]
    came: list[str]
    texts: list[str]


def fall_back(
    answers: Callable[[tuple[str, ...]], list[str]],
    languages: Sequence[str],
    identifier: Identifier,
    *,
    asked: str,
    order: Order,
) -> list[Level]:
    """Answers with nothing off, then with one language more each time, until all are.

    `answers` gives the texts when some languages are off. `order`: "released" as the reference has
    it, other languages after; "listed" as in `languages`; "outcome" first the one asked in, then
    the one that came most at the level before, of equals and where none of the rest came the
    released order's next.
    """
    rest = list(languages)
    if order != "listed":
        rest.sort(key=lambda code: RELEASED.index(code) if code in RELEASED else len(RELEASED))
    levels = [_level((), answers, identifier)]
    while rest:
        following = rest[0]
        if order == "outcome":
            came = Counter(levels[-1].came)
            following = max(rest, key=came.__getitem__) if levels[-1].off else asked
        rest.remove(following)
        levels.append(_level((*levels[-1].off, following), answers, identifier))
    return levels


def _level(
    off: tuple[str, ...], answers: Callable[[tuple[str, ...]], list[str]], identifier: Identifier
) -> Level:
    texts = answers(off)
    return Level(off, [language_of(text, identifier) for text in texts], texts)
