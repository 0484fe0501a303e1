"""Cleaning as a chain of named steps: each returns a pair, or the reason to drop it.

`data.cleaning.steps` names the steps and their order. Those that change text (unicode, invisible,
punctuation, whitespace) come before those that judge it. Lengths are counted in words split at
spaces; a sentence in a script written without spaces is compared by its characters instead, and
so is its partner. No language is written here: `punctuation` passes the code on to sacremoses,
whose rules for quotation marks and numbers depend on it, `script` and `language` ask others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from sacremoses import MosesPunctNormalizer

from nsmt.data.identification import identifier_codes, probability, script_of, script_share
from nsmt.data.settings import CleaningSettings
from nsmt.data.text import collapse_whitespace, compose, remove_invisible
from nsmt.languages import Language


class Cleaned(NamedTuple):
    """A pair after the chain; `reason` says why it is dropped and is None where it is kept."""

    source: str
    target: str
    reason: str | None = None


Step = Callable[[str, str], Cleaned]

# Thai, Lao, Myanmar, Khmer, kana, CJK ideographs: scripts written without spaces.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
# {0} {name} %s %d %1$s %(name)s $1 ${name} <b> &amp;
_PLACEHOLDER = re.compile(
    r"\$?\{\w*\}|%(?:\(\w+\))?(?:\d+\$)?[a-zA-Z]\b|\$\d+|</?\w[^<>]*>|&#?\w+;"
)


class Cleaner:
    """The configured chain for one pair of languages."""

    def __init__(self, settings: CleaningSettings, source: Language, target: Language) -> None:
        self._steps = [make_step(name, settings, (source, target)) for name in settings.steps]

    def __call__(self, source: str, target: str) -> Cleaned:
        """Run the steps until one drops the pair; texts are those seen by that step."""
        for step in self._steps:
            source, target, reason = step(source, target)
            if reason is not None:
                return Cleaned(source, target, reason)
        return Cleaned(source, target)


def make_step(name: str, settings: CleaningSettings, sides: tuple[Language, Language]) -> Step:
    """The step of a name, its limits bound; every name of `StepName` is known."""
    steps: dict[str, Callable[[], Step]] = {
        "unicode": lambda: _on_both_sides(compose),
        "invisible": lambda: _on_both_sides(remove_invisible),
        "whitespace": lambda: _on_both_sides(collapse_whitespace),
        "punctuation": lambda: _punctuation(sides),
        "empty": lambda: _empty,
        "words": lambda: partial(_words, fewest=settings.min_words, most=settings.max_words),
        "characters": lambda: partial(_characters, most=settings.max_characters),
        "ratio": lambda: partial(_ratio, most=settings.max_ratio),
        "copies": lambda: _copies,
        "placeholders": lambda: _placeholders,
        "script": lambda: partial(_script, sides=sides, least=settings.min_script_share),
        "language": lambda: _language(sides, settings),
    }
    return steps[name]()


def _on_both_sides(change: Callable[[str], str]) -> Step:
    return lambda source, target: Cleaned(change(source), change(target))


def _punctuation(sides: tuple[Language, Language]) -> Step:
    normalisers = [MosesPunctNormalizer(lang=language.code) for language in sides]
    source_of, target_of = (normaliser.normalize for normaliser in normalisers)
    return lambda source, target: Cleaned(source_of(source), target_of(target))


def _empty(source: str, target: str) -> Cleaned:
    has_text = all(any(map(str.isalnum, side)) for side in (source, target))
    return Cleaned(source, target, None if has_text else "empty")


def _words(source: str, target: str, *, fewest: int, most: int | None) -> Cleaned:
    counts = len(source.split()), len(target.split())
    if min(counts) < fewest:
        return Cleaned(source, target, "too_few_words")
    too_long = most is not None and max(counts) > most
    return Cleaned(source, target, "too_many_words" if too_long else None)


def _characters(source: str, target: str, *, most: int | None) -> Cleaned:
    too_long = most is not None and max(len(source), len(target)) > most
    return Cleaned(source, target, "too_many_characters" if too_long else None)


def _ratio(source: str, target: str, *, most: float) -> Cleaned:
    unspaced = _UNSPACED.search(source) or _UNSPACED.search(target)
    length = len if unspaced else _word_count
    # One is added to both: among short sentences, one word against four is nothing odd.
    shorter, longer = sorted((length(source) + 1, length(target) + 1))
    return Cleaned(source, target, "length_ratio" if longer > most * shorter else None)


def _word_count(text: str) -> int:
    return len(text.split())


def _copies(source: str, target: str) -> Cleaned:
    return Cleaned(source, target, "copy" if source == target else None)


def _placeholders(source: str, target: str) -> Cleaned:
    found = [Counter(_PLACEHOLDER.findall(side)) for side in (source, target)]
    return Cleaned(source, target, None if found[0] == found[1] else "placeholders_differ")


def _script(source: str, target: str, *, sides: tuple[Language, Language], least: float) -> Cleaned:
    wrong = any(
        script_share(text, script_of(language)) < least
        for text, language in zip((source, target), sides, strict=True)
    )
    return Cleaned(source, target, "wrong_script" if wrong else None)


def _language(sides: tuple[Language, Language], settings: CleaningSettings) -> Step:
    codes = identifier_codes(sides, unidentified=settings.unidentified_languages)
    names = [codes.get(side.code) for side in sides]

    def judge(source: str, target: str) -> Cleaned:
        wrong = any(
            name is not None
            and len(text) >= settings.min_identified_characters
            and probability(text, name) < settings.min_language_probability
            for text, name in zip((source, target), names, strict=True)
        )
        return Cleaned(source, target, "wrong_language" if wrong else None)

    return judge
