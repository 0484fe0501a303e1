"""FLORES-200 and NTREX-128 as valid and test sets of any corpus.

Both are multi-parallel: line n of every language says the same, so that any pair of their
languages is a test set, with English or without. EC30 is validated on NTREX-128 and tested on
dev + devtest of FLORES-200 (Neuron Specialization, section 4.1); others test on devtest alone.

Folders are read as published: `dev/deu_Latn.dev` and `devtest/deu_Latn.devtest` below
`flores200_dataset`, `newstest2019-ref.deu.txt` below `NTREX-128`; the English of NTREX is the
source, `newstest2019-src.eng.txt`, unless `codes` names one of its three English references (the
release of EC40 takes eng-US). Some copies of NTREX have empty lines too many in Urdu; they are
refused for their length.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nsmt.data.evaluation_settings import EvaluationSetSettings, Flores200Settings
from nsmt.data.settings import CorpusSettings
from nsmt.data.sources.base import ParallelSource
from nsmt.data.sources.lines import locate, read_lines
from nsmt.data.sources.moses import text_form
from nsmt.data.split import SPLITS
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import sha256
from nsmt.languages import Direction, Language

# Where NTREX names a language by another code than FLORES: mostly the macrolanguage, and sometimes
# a script or a country. Elsewhere its code is that of FLORES without the script or, in a few
# languages, with it (srp-Cyrl, snd-Arab).
NTREX_CODES = {
    "als_Latn": "sqi",
    "azj_Latn": "aze-Latn",
    "gaz_Latn": "orm",
    "khk_Cyrl": "mon",
    "lvs_Latn": "lav",
    "npi_Deva": "nep",
    "pbt_Arab": "pus",
    "pes_Arab": "fas",
    "plt_Latn": "mlg",
    "swh_Latn": "swa",
    "tgl_Latn": "fil",
    "uzn_Latn": "uzb",
    "zho_Hans": "zho-CN",
    "zho_Hant": "zho-TW",
    "zsm_Latn": "msa",
}
_CODE = re.compile(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*\Z")
_LICENCE = {"flores200": "FLORES-200: CC BY-SA 4.0", "ntrex128": "NTREX-128: CC BY-SA 4.0"}
_FOLDER = {"flores200": "flores200_dataset", "ntrex128": "NTREX-128"}


class EvaluationSet:
    """One published set in the languages of a corpus.

    Args:
        settings: the set, its folder and what to do with its text.
        languages: the languages of the corpus, by code.
        key: the configuration's name of the set, for messages.

    Raises:
        DataError: languages of which files are missing, all of them at once.
        ConfigurationError: a code that is no file name, or a transliteration that cannot be done.
    """

    def __init__(
        self, settings: EvaluationSetSettings, languages: Mapping[str, Language], *, key: str
    ) -> None:
        self._settings, self._key = settings, key
        self._root = _root(settings, key)
        self._languages = [code for code in languages if code not in settings.without]
        self._paths = {code: self._locate(languages[code]) for code in self._languages}
        self._require_files(languages)
        self._latin = {
            code: _transliterator(code, key)
            for code in settings.transliterate
            if code in self._languages
        }
        self._lines: dict[str, list[str]] = {}

    @property
    def licence(self) -> str:
        """The set's title and licence."""
        return _LICENCE[self._settings.kind]

    def has(self, code: str) -> bool:
        """Whether the set is read in a language."""
        return code in self._paths

    def covers(self, pair: Direction) -> bool:
        """Whether the set is read in both languages of a pair."""
        return self.has(pair.source) and self.has(pair.target)

    def identity(self) -> dict[str, Any]:
        """What is read, and the hash of each file: equal copies make equal corpora."""
        paths = sorted({path for found in self._paths.values() for path in found})
        files = {path.relative_to(self._root).as_posix(): sha256(path) for path in paths}
        return {**self._settings.identity(), "files": files}

    def check(self) -> None:
        """A DataError unless all languages have equally many lines, part by part."""
        for part, paths in enumerate(zip(*self._paths.values(), strict=True)):
            counts = [sum(1 for _ in read_lines(path)) for path in paths]
            for path, count in zip(paths, counts, strict=True):
                if count != counts[0]:
                    raise DataError(
                        f"{self._key}: {path} has {count} lines, {paths[0]} has {counts[0]}",
                        fix=f"the set is multi-parallel: download part {part + 1} of it again",
                    )

    def read(self, pair: Direction) -> Iterator[tuple[str, str]]:
        """Yield the sentences of both languages, in the order of the set."""
        yield from zip(self._text(pair.source), self._text(pair.target), strict=True)

    def _text(self, code: str) -> list[str]:
        # Some thousand lines a language, read for every pair that the language is in.
        if code not in self._lines:
            latin = self._latin.get(code, str)
            form = text_form(self._settings.form, code)
            raw = (line for path in self._paths[code] for line in read_lines(path))
            self._lines[code] = [form(latin(line)) for line in raw]
        return self._lines[code]

    def _locate(self, language: Language) -> list[Path]:
        """The files of a language, one a part; an empty list where one is missing."""
        for names in self._names(language):
            found = [path for name in names if (path := locate(self._root / name))]
            if len(found) == len(names):
                return found
        return []

    def _names(self, language: Language) -> list[list[str]]:
        """The names that the files of a language may have, the likeliest first."""
        given = self._settings.codes.get(language.code)
        if not _CODE.match(language.flores):
            raise ConfigurationError(
                f"data.languages.{language.code}.flores '{language.flores}' is not a FLORES code",
                fix="use letters, digits and _, as in deu_Latn",
            )
        if isinstance(self._settings, Flores200Settings):
            code = given or language.flores
            return [[f"{part}/{code}.{part}" for part in self._settings.part.split("+")]]
        iso = language.flores.partition("_")[0]
        if given is None and iso == "eng":
            return [["newstest2019-src.eng.txt"]]
        usual = [iso, language.flores.replace("_", "-")]
        codes = [given] if given else [NTREX_CODES.get(language.flores, usual[0]), usual[1]]
        return [[f"newstest2019-ref.{code}.txt"] for code in codes]

    def _require_files(self, languages: Mapping[str, Language]) -> None:
        lacking = [code for code, paths in self._paths.items() if not paths]
        if lacking:
            names = [self._names(languages[code])[0][0] for code in lacking]
            raise DataError(
                f"{self._key}: {self._root} lacks {', '.join(lacking)} ({', '.join(names)})",
                fix=f"correct {self._key}.root, say the set's codes by {self._key}.codes, or list "
                f"what it lacks in {self._key}.without: those pairs keep the source's own split",
            )


class WithEvaluationSets:
    """A source of which valid, test or both come from evaluation sets where these cover a pair.

    What the source itself gives for such a pair and split is not read. A pair that a set does not
    cover keeps what the source gives, or what is cut from its train.
    """

    def __init__(self, source: ParallelSource, sets: Mapping[str, EvaluationSet]) -> None:
        self._source, self._sets = source, sets

    def licences(self) -> dict[str, str]:
        """The source's, followed by the sets' for each language that they cover."""
        own = self._source.licences()
        return {code: "; ".join([text, *self._licences(code)]) for code, text in own.items()}

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """As the source does; the sets are the files that are there."""
        self._source.settle(cache, progress=progress)

    def identity(self) -> dict[str, Any]:
        """The source's, and each set's."""
        sets = {split: chosen.identity() for split, chosen in self._sets.items()}
        return {"source": self._source.identity(), "sets": sets}

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Check the sets, then fetch the source."""
        for chosen in self._sets.values():
            chosen.check()
        self._source.fetch(cache, progress=progress)

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """What the source gives or a set covers."""
        own = self._source.splits(pair)
        return tuple(split for split in SPLITS if split in own or self._covers(pair, split))

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """From the set if it covers the pair, otherwise from the source."""
        if self._covers(pair, split):
            return self._sets[split].read(pair)
        return self._source.read(pair, split)

    def _covers(self, pair: Direction, split: str) -> bool:
        return split in self._sets and self._sets[split].covers(pair)

    def _licences(self, code: str) -> list[str]:
        return [
            f"{split}: {chosen.licence}" if chosen.has(code) else f"{split}: the source's own"
            for split, chosen in self._sets.items()
        ]


def open_sets(
    settings: CorpusSettings,
    *,
    valid: EvaluationSetSettings | None,
    test: EvaluationSetSettings | None,
) -> dict[str, EvaluationSet]:
    """The sets that a configuration names, by split."""
    table = settings.language_table()
    named = {"valid": valid, "test": test}
    return {
        split: EvaluationSet(chosen, table, key=f"data.{split}_set")
        for split, chosen in named.items()
        if chosen is not None
    }


def evaluated_pairs(
    settings: CorpusSettings, sets: Mapping[str, EvaluationSet]
) -> frozenset[Direction]:
    """The pairs that some set covers: untrained, they need no text in the source."""
    pairs = settings.parsed_pairs
    return frozenset(pair for pair in pairs if any(one.covers(pair) for one in sets.values()))


def _root(settings: EvaluationSetSettings, key: str) -> Path:
    """The folder itself, or the one of the published name in it."""
    root = Path(settings.root).expanduser()
    if not root.is_dir():
        raise DataError(f"{key}.root {root} is not a folder", fix=f"correct {key}.root")
    inner = root / _FOLDER[settings.kind]
    return inner if inner.is_dir() else root


def _transliterator(code: str, key: str) -> Callable[[str], str]:
    try:
        library: Any = importlib.import_module("cyrtranslit")
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"{key}.transliterate needs the library cyrtranslit",
            fix='pip install "nsmt[transliteration]"',
        ) from None
    if code not in library.supported():
        raise ConfigurationError(
            f"{key}.transliterate: no rules for '{code}'",
            fix=f"use {', '.join(library.supported())}",
        )
    return lambda text: str(library.to_latin(text, code))
