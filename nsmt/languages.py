"""Languages and translation directions: the ground floor, known to every other room.

A language is known by its code and never by its position. The catalogue below only saves typing:
any well-formed code can be described in a configuration (`data.languages`, or `described` for
language models) and used like these.
Families are the branches in which the EC30 corpus groups its languages (Neuron Specialization,
section 4.1), with the same naming continued for the rest.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nsmt.errors import ConfigurationError, did_you_mean
from nsmt.settings import Settings

# An ISO 639-1 or 639-3 code, with an optional ISO 15924 script as in FLORES: de, deu, deu_Latn.
_CODE = re.compile(r"[a-z]{2,3}(_[A-Z][a-z]{3})?\Z")
CODE_RULE = "two or three lower-case letters, optionally followed by a script such as _Latn"


class LanguageSettings(Settings):
    """What a configuration may say of a language that the catalogue lacks, or says otherwise."""

    name: str | None = None
    family: str | None = None
    tier: str | None = None
    flores: str | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """One language: its code and what tables and figures group it by.

    `flores` is the FLORES-200 code (ISO 639-3 and script). `tier` is the resource tier; it is a
    property of a corpus, so the catalogue leaves it open.
    """

    code: str
    name: str
    family: str
    flores: str
    tier: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Direction:
    """A translation direction, written "de-en" for German into English."""

    source: str
    target: str

    def __post_init__(self) -> None:
        validate_code(self.source)
        validate_code(self.target)
        if self.source == self.target:
            raise ConfigurationError(
                f"direction '{self.source}-{self.target}' translates a language into itself",
                fix="name two different languages",
            )

    @classmethod
    def parse(cls, text: str) -> Direction:
        """Read "de-en"; anything else is a ConfigurationError."""
        source, dash, target = text.partition("-")
        if not dash:
            raise ConfigurationError(
                f"'{text}' is not a translation direction", fix="write SOURCE-TARGET, as in de-en"
            )
        return cls(source, target)

    @property
    def reverse(self) -> Direction:
        """The same pair of languages the other way round."""
        return Direction(self.target, self.source)

    def other(self, language: str) -> str:
        """The language of the pair that is not `language`."""
        if language not in (self.source, self.target):
            raise KeyError(language)
        return self.target if language == self.source else self.source

    def __str__(self) -> str:
        return f"{self.source}-{self.target}"


class Halves(NamedTuple):
    """Whose encoder and whose decoder a direction has: its neurons, weights or adapters."""

    encoder: Direction
    decoder: Direction

    @classmethod
    def of(cls, direction: Direction, trained: Container[Direction], *, pivot: str) -> Halves:
        """Its own, if it was trained; else those of X→pivot and pivot→Y.

        So the script merges masks that Neuron Specialization's code inherits from LaSS. An
        untrained direction of the pivot has no halves: a ConfigurationError.
        """
        if direction in trained:
            return cls(direction, direction)
        if pivot in (direction.source, direction.target):
            raise ConfigurationError(
                f"{direction} was not trained, and only directions between other languages than "
                f"the pivot, {pivot}, are put together of trained ones",
                fix=f"train {direction}, or leave it out",
            )
        return cls(Direction(direction.source, pivot), Direction(pivot, direction.target))


def validate_code(code: str) -> str:
    """Return `code` if it is well-formed; codes become file names, so nothing else passes."""
    if not _CODE.match(code):
        raise ConfigurationError(f"'{code}' is not a language code", fix=f"use {CODE_RULE}")
    return code


def both_ways(pairs: Iterable[Direction]) -> list[Direction]:
    """Each pair followed by its reverse, without repetition, in order."""
    return list(dict.fromkeys(d for pair in pairs for d in (pair, pair.reverse)))


_GERMANIC, _ROMANCE, _SLAVIC = "Germanic", "Romance", "Slavic"
_INDO_ARYAN, _AFRO_ASIATIC = "Indo-Aryan", "Afro-Asiatic"
_BALTIC, _URALIC = "Baltic", "Uralic"
# The family of languages of which nobody has said any.
OTHER = "other"

_CATALOGUE: dict[str, tuple[str, str, str]] = {
    "en": ("English", _GERMANIC, "eng_Latn"),
    "de": ("German", _GERMANIC, "deu_Latn"),
    "nl": ("Dutch", _GERMANIC, "nld_Latn"),
    "sv": ("Swedish", _GERMANIC, "swe_Latn"),
    "da": ("Danish", _GERMANIC, "dan_Latn"),
    "no": ("Norwegian", _GERMANIC, "nob_Latn"),
    "af": ("Afrikaans", _GERMANIC, "afr_Latn"),
    "lb": ("Luxembourgish", _GERMANIC, "ltz_Latn"),
    "is": ("Icelandic", _GERMANIC, "isl_Latn"),
    "fr": ("French", _ROMANCE, "fra_Latn"),
    "es": ("Spanish", _ROMANCE, "spa_Latn"),
    "it": ("Italian", _ROMANCE, "ita_Latn"),
    "pt": ("Portuguese", _ROMANCE, "por_Latn"),
    "ro": ("Romanian", _ROMANCE, "ron_Latn"),
    "oc": ("Occitan", _ROMANCE, "oci_Latn"),
    "ca": ("Catalan", _ROMANCE, "cat_Latn"),
    "ast": ("Asturian", _ROMANCE, "ast_Latn"),
    "ru": ("Russian", _SLAVIC, "rus_Cyrl"),
    "cs": ("Czech", _SLAVIC, "ces_Latn"),
    "pl": ("Polish", _SLAVIC, "pol_Latn"),
    "bg": ("Bulgarian", _SLAVIC, "bul_Cyrl"),
    "uk": ("Ukrainian", _SLAVIC, "ukr_Cyrl"),
    "sr": ("Serbian", _SLAVIC, "srp_Cyrl"),
    "be": ("Belarusian", _SLAVIC, "bel_Cyrl"),
    "bs": ("Bosnian", _SLAVIC, "bos_Latn"),
    "hi": ("Hindi", _INDO_ARYAN, "hin_Deva"),
    "bn": ("Bengali", _INDO_ARYAN, "ben_Beng"),
    "mr": ("Marathi", _INDO_ARYAN, "mar_Deva"),
    "gu": ("Gujarati", _INDO_ARYAN, "guj_Gujr"),
    "ne": ("Nepali", _INDO_ARYAN, "npi_Deva"),
    "sd": ("Sindhi", _INDO_ARYAN, "snd_Arab"),
    "ur": ("Urdu", _INDO_ARYAN, "urd_Arab"),
    # EC30 files Kannada, a Dravidian language, under Indo-Aryan; kept so that groups agree.
    "kn": ("Kannada", _INDO_ARYAN, "kan_Knda"),
    "fa": ("Persian", "Iranian", "pes_Arab"),
    "ku": ("Kurdish", "Iranian", "kmr_Latn"),
    "ar": ("Arabic", _AFRO_ASIATIC, "arb_Arab"),
    "he": ("Hebrew", _AFRO_ASIATIC, "heb_Hebr"),
    "mt": ("Maltese", _AFRO_ASIATIC, "mlt_Latn"),
    "ha": ("Hausa", _AFRO_ASIATIC, "hau_Latn"),
    "am": ("Amharic", _AFRO_ASIATIC, "amh_Ethi"),
    "ti": ("Tigrinya", _AFRO_ASIATIC, "tir_Ethi"),
    "kab": ("Kabyle", _AFRO_ASIATIC, "kab_Latn"),
    "tr": ("Turkish", "Turkic", "tur_Latn"),
    "zh": ("Chinese", "Sino-Tibetan", "zho_Hans"),
    "ja": ("Japanese", "Japonic", "jpn_Jpan"),
    "ko": ("Korean", "Koreanic", "kor_Hang"),
    "vi": ("Vietnamese", "Austroasiatic", "vie_Latn"),
    "id": ("Indonesian", "Austronesian", "ind_Latn"),
    "tl": ("Tagalog", "Austronesian", "tgl_Latn"),
    "fi": ("Finnish", _URALIC, "fin_Latn"),
    "hu": ("Hungarian", _URALIC, "hun_Latn"),
    "el": ("Greek", "Hellenic", "ell_Grek"),
    "bo": ("Tibetan", "Sino-Tibetan", "bod_Tibt"),
    "th": ("Thai", "Kra-Dai", "tha_Thai"),
    "lv": ("Latvian", _BALTIC, "lvs_Latn"),
    "lt": ("Lithuanian", _BALTIC, "lit_Latn"),
    "et": ("Estonian", _URALIC, "est_Latn"),
    "ka": ("Georgian", "Kartvelian", "kat_Geor"),
    "cy": ("Welsh", "Celtic", "cym_Latn"),
    "sw": ("Swahili", "Bantu", "swh_Latn"),
    "mk": ("Macedonian", _SLAVIC, "mkd_Cyrl"),
    "sl": ("Slovenian", _SLAVIC, "slv_Latn"),
    "sk": ("Slovak", _SLAVIC, "slk_Latn"),
}
CATALOGUE: Mapping[str, Language] = {
    code: Language(code, *entry) for code, entry in _CATALOGUE.items()
}


def family_order(families: Sequence[str]) -> list[int]:
    """The places of a list of families, equals together, in the order of first appearance."""
    first = {family: place for place, family in reversed(list(enumerate(families)))}
    return sorted(range(len(families)), key=lambda place: first[families[place]])


def catalogue_with(described: Mapping[str, LanguageSettings]) -> Mapping[str, Language]:
    """The catalogue, amended by what a configuration says of some languages."""
    return {**CATALOGUE, **LanguageTable(described, described)}


class LanguageTable(Mapping[str, Language]):
    """The languages of one corpus: the catalogue's entries, amended by the configuration."""

    def __init__(
        self, codes: Iterable[str], described: Mapping[str, LanguageSettings] | None = None
    ) -> None:
        described = described or {}
        self._languages = {
            code: _describe(code, described.get(code)) for code in dict.fromkeys(codes)
        }

    def __getitem__(self, code: str) -> Language:
        return self._languages[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._languages)

    def __len__(self) -> int:
        return len(self._languages)

    def by_family(self) -> list[Language]:
        """All languages ordered by family, families in the order of first appearance."""
        entries = list(self._languages.values())
        return [entries[place] for place in family_order([entry.family for entry in entries])]


def _describe(code: str, settings: LanguageSettings | None) -> Language:
    validate_code(code)
    known = CATALOGUE.get(code)
    if known is None and settings is None:
        hint = did_you_mean(code, CATALOGUE)
        raise ConfigurationError(
            f"unknown language code '{code}'",
            fix=f"{hint}describe an own language by data.languages.{code}.name and .family",
        )
    known = known or Language(code, code, OTHER, code)
    if settings is None:
        return known
    return Language(
        code,
        settings.name or known.name,
        settings.family or known.family,
        settings.flores or known.flores,
        settings.tier,
    )
