"""Is a text in the language that it should be in: by its script, and by a language identifier.

Scripts are told by Unicode's property through `regex`, which knows ISO 15924 codes. Languages are
told by py3langid (naive Bayes over byte n-grams, 142 languages, no network), an extra: it errs on
short texts and between close relatives, so a text is dropped only if it is long enough and the
expected language all but ruled out. Where the question is which of a few languages a text is in,
`LanguageIdentifier` knows those alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable
from functools import cache
from importlib import metadata
from typing import Any, Final, Protocol

import regex

from nsmt.errors import ConfigurationError
from nsmt.languages import CATALOGUE, Language

# ISO 15924 has codes for writing systems of several scripts, and variants that Unicode unites.
_SCRIPTS: Final = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Jpan": ("Hani", "Hira", "Kana"),
    "Kore": ("Hang", "Hani"),
    "Aran": ("Arab",),
}
_UNIDENTIFIED: Final = "score without off-target rates: eval.identify=false"


def script_share(text: str, script: str) -> float:
    """The share of letters in the script with that ISO 15924 code; 1 where there are no letters."""
    letters = _LETTERS.findall(text)
    if not letters:
        return 1.0
    return sum(map(len, _pattern(script).findall(text))) / len(letters)


def script_of(language: Language) -> str:
    """The script in the language's FLORES code: Deva of hin_Deva; a ConfigurationError without."""
    script = language.flores.partition("_")[2]
    if not script:
        raise ConfigurationError(
            f"the script of '{language.code}' is not known",
            fix=f"set data.languages.{language.code}.flores, as in deu_Latn, or leave the cleaning "
            "step 'script' out",
        )
    return script


def identifier_codes(
    languages: Iterable[Language], *, unidentified: Collection[str] = ()
) -> dict[str, str]:
    """The code by which the identifier knows each language but those left `unidentified`.

    Scripts are left out: zho_Hans is zho, and by the catalogue zh. Languages that the identifier
    does not know are a ConfigurationError, all of them at once: no text of theirs would be kept.
    """
    judged = [language for language in languages if language.code not in unidentified]
    found = _known(judged, _identifier())
    if unknown := [language.code for language in judged if language.code not in found]:
        raise ConfigurationError(
            f"the cleaning step 'language' cannot identify {', '.join(unknown)}",
            fix=f"set data.cleaning.unidentified_languages=[{','.join(unknown)}] to keep their "
            "text unjudged, name them by their two-letter codes if they have such, or leave the "
            "step out",
        )
    return found


def probability(text: str, name: str) -> float:
    """How likely the text is in the language that the identifier knows by this code."""
    return float(dict(_identifier().rank(text))[name])


class Identifier(Protocol):
    """Tells which of some languages a text is in."""

    # What a rate that it gave must be printed with.
    signature: str
    languages: tuple[str, ...]

    def identify(self, text: str) -> str:
        """The code of the likeliest of `languages`."""
        ...


class LanguageIdentifier:
    """py3langid among the languages of a corpus, by the codes that the corpus has for them.

    Those of `languages` that it does not know are left out; that one of `required` is unknown, or
    cannot be told from another, is a ConfigurationError, with what it was `needed_by`, the
    `setting` that names languages and how to do `without` it. A text may be in one of `others` too,
    but those that it does not know or cannot tell from one before.
    """

    def __init__(
        self,
        languages: Iterable[Language],
        *,
        required: Collection[str],
        others: Iterable[Language] = (),
        needed_by: str = "the off-target rate",
        setting: str = "eval.languages",
        without: str = _UNIDENTIFIED,
    ) -> None:
        self._model = _loaded(needed_by, without=without)
        found = _known(languages, self._model)
        if unknown := [code for code in required if code not in found]:
            raise ConfigurationError(
                f"the language identifier does not know {', '.join(unknown)}",
                fix=f"name the other languages in {setting}, or {without}",
            )
        self._codes: dict[str, str] = {}
        for code, name in found.items():
            if name in self._codes:
                raise ConfigurationError(
                    f"the language identifier cannot tell {code} from {self._codes[name]}",
                    fix=without,
                )
            self._codes[name] = code
        for code, name in _known(others, self._model).items():
            self._codes.setdefault(name, code)
        self._model.set_languages(list(self._codes))
        self.languages = tuple(self._codes.values())
        version = metadata.version("py3langid")
        names = (code if code == name else f"{code}={name}" for name, code in self._codes.items())
        self.signature = f"py3langid:{version}|languages:{','.join(sorted(names))}"

    def identify(self, text: str) -> str:
        """The code of the likeliest language."""
        name, _ = self._model.classify(text)
        return self._codes[name]


def language_of(text: str, identifier: Identifier) -> str:
    """The likeliest language; "" of a text without a letter, which is of none."""
    return identifier.identify(text) if any(map(str.isalpha, text)) else ""


def _known(languages: Iterable[Language], identifier: Any) -> dict[str, str]:  # noqa: ANN401
    """The identifier's code of each language that it knows."""
    known = set(identifier.nb_classes)
    names = {
        language.code: next((name for name in _names(language) if name in known), None)
        for language in languages
    }
    return {code: name for code, name in names.items() if name is not None}


def _names(language: Language) -> list[str]:
    """What a language may be called: its code without the script, or the catalogue's code."""
    code, iso = (name.partition("_")[0] for name in (language.code, language.flores))
    by_iso = {each.flores.partition("_")[0]: each.code for each in CATALOGUE.values()}
    return [code, *(by_iso[each] for each in (code, iso) if each in by_iso)]


_LETTERS: Final = regex.compile(r"\p{L}")


@cache
def _pattern(script: str) -> Any:  # noqa: ANN401 -- a pattern of `regex`
    names = _SCRIPTS.get(script, (script,))
    try:
        scripts = "".join(rf"\p{{Script={name}}}" for name in names)
        return regex.compile(rf"[[{scripts}]&&\p{{L}}]+", regex.V1)
    except regex.error:
        raise ConfigurationError(
            f"'{script}' is no script that Unicode knows",
            fix="write an ISO 15924 code in data.languages.XX.flores, as in deu_Latn",
        ) from None


@cache
def _identifier() -> Any:  # noqa: ANN401 -- an untyped library
    return _loaded("the cleaning step 'language'", without="leave the step out")


def _loaded(wanted_by: str, *, without: str) -> Any:  # noqa: ANN401
    try:
        module = importlib.import_module("py3langid.langid")
    except ImportError:
        raise ConfigurationError(
            f"{wanted_by} needs py3langid",
            fix=f'pip install "nsmt[langid]", or {without}',
        ) from None
    return module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)
