"""Which locale of an archive serves a language, given by its code.

Archives name locales in many ways: pt_BR, pt-br, sr@latin, zh-Hans. All are compared in lower
case with hyphens. A language takes its own code, or else any of its regions (sv-se, hi-in), in
alphabetical order; where that would be wrong, the table below says what to take, best first. One
package serves a language with one locale, so that varieties are not mixed within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# In the order of preference. Left out on purpose: other scripts than the one listed.
_PREFERRED: dict[str, tuple[str, ...]] = {
    # en-ca stands in for en-us, which Mozilla's language packs do not have.
    "en": ("en", "en-us", "en-ca", "en-gb"),
    "es": ("es", "es-es", "es-mx", "es-ar"),
    # Brazilian: the only one of VS Code, and the larger one elsewhere.
    "pt": ("pt-br", "pt", "pt-pt"),
    "sr": ("sr", "sr-ec", "sr-cyrl", "sr-rs"),
    "sr_Cyrl": ("sr", "sr-ec", "sr-cyrl", "sr-rs"),
    "sr_Latn": ("sr-latin", "sr-latn", "sr-el"),
    "zh": ("zh-cn", "zh-hans", "zh"),
    "zh_Hans": ("zh-cn", "zh-hans", "zh"),
    "zh_Hant": ("zh-tw", "zh-hant"),
    # Code changes and macro-languages.
    "no": ("nb", "no", "nb-no"),
    "he": ("he", "iw"),
    "tl": ("tl", "fil"),
    "ku": ("ku", "kmr", "ku-latn"),
}
_REGION = re.compile(r"[a-z]{2}|\d{3}")
_WELL_FORMED = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*")


def normal_locale(name: str) -> str | None:
    """The locale in lower case with hyphens; None for what is none, or no safe file name."""
    locale = re.sub("[_@.]", "-", name).lower()
    return locale if _WELL_FORMED.fullmatch(locale) else None


def rank(code: str, locale: str) -> tuple[int, str] | None:
    """How well a normalised locale serves a language: lower is better, None is not at all."""
    if code in _PREFERRED:
        order = _PREFERRED[code]
        return (order.index(locale), locale) if locale in order else None
    wanted = code.replace("_", "-").lower()
    if locale == wanted:
        return 0, locale
    language, _, region = locale.partition("-")
    return (1, locale) if language == wanted and _REGION.fullmatch(region) else None


def best_locale(code: str, locales: Iterable[str]) -> str | None:
    """The one of some normalised locales that serves the language best."""
    ranked = [(place, locale) for locale in locales if (place := rank(code, locale)) is not None]
    return min(ranked)[1] if ranked else None


def debian_languages(code: str) -> list[str]:
    """The names by which an apt archive may hold translated indices of a language: pt_BR, sv."""
    names = _PREFERRED.get(code, (code.partition("_")[0],))
    parts = [name.split("-") for name in names]
    return [
        part[0] if len(part) == 1 else f"{part[0]}_{part[1].upper()}"
        for part in parts
        if len(part) == 1 or _REGION.fullmatch(part[1])
    ]
