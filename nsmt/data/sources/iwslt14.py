"""IWSLT-14: TED talks in English and eight languages, cut by the recipe of earlier papers.

The recipe is the one that LaSS uses, and with it the small model of Neuron Specialization: lines
of markup go (url, talkid, keywords), tags of titles and descriptions are stripped; a pair stays if
both sides have 1 to 175 Moses tokens and neither more than 1.5 times the other's; test is dev2010,
TEDX.dev2012, tst2010, tst2011 and tst2012, one after the other. Tokens decide all this whether or
not the text is given as tokens. The recipe lower-cases; that LaSS's own data is cased is suggested
by its name alone (not confirmed), so both are here.

Valid departs from the recipe, which takes every 23rd of these pairs, language by language. The
languages translate the same talks, so that English of one language's valid stays in another's
train, and a multilingual model is validated on English that it was trained on. Here valid is cut
by the hash of the English sentence, the same for all languages (`data.split`). `valid_cut=recipe`
is the original: preparation then drops the leaking sentences from every train, which costs more
text with every language, up to 1 - (22/23)^8 = 30 % of it for eight that share all their talks.

Read are the archives of WIT3's release 2014-01, `de-en.tgz` with `de-en/train.tags.de-en.de` and
`de-en/IWSLT14.TED.dev2010.de-en.de.xml` in them, or the folders that they unpack to. Which of the
five test files each language has is not confirmed (TEDX.dev2012 was made for German and English);
those that are there are joined in this order, as the recipe's script does. sacremoses stands for
the Perl tokeniser, so that single pairs at the limits may fall on the other side.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field
from sacremoses import MosesTokenizer

from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.sources.archives import extract
from nsmt.data.sources.contents import content_hashes
from nsmt.data.sources.lines import locate, read_aligned, read_lines
from nsmt.data.split import SPLITS
from nsmt.data.text import collapse_whitespace
from nsmt.errors import DataError
from nsmt.files import replace_folder
from nsmt.languages import Direction
from nsmt.progress import each, step
from nsmt.settings import Count
from nsmt.turns import taking_turns

LICENCE = "TED talks: CC BY-NC-ND"
_TAGS = re.compile(r"</?(?:title|description)>")
_SEGMENT = re.compile(r'<seg id="[0-9]*">\s*|\s*</seg>\s*')
# Becomes part of a file name.
PartName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+(\.[A-Za-z0-9]+)*$")]
# Changes with what the recipe makes of the same archive.
_RECIPE = 1


class Iwslt14Settings(CorpusSettings):
    """The IWSLT-14 recipe on the archives of WIT3's release 2014-01."""

    places: ClassVar = frozenset({"root"})

    source: Literal["iwslt14"]
    name: CorpusName = "iwslt14"
    root: str = Field(description="folder of the archives de-en.tgz, …, or of what they unpack to")
    lowercase: bool = Field(default=False, description="the recipe's script says true")
    tokenised: bool = Field(
        default=False, description="give Moses tokens, escaped, as the recipe does"
    )
    max_tokens: Count = Field(175, description="Moses tokens of the longer side of train")
    max_ratio: float = Field(1.5, ge=1, description="longer side / shorter side, in tokens")
    valid_cut: Literal["hash", "recipe"] = Field(
        "hash",
        description="hash: the same English for all pairs, as data.split says; recipe: pair by "
        "pair, of which the English is dropped from every train",
    )
    valid_every: Count = Field(23, description="recipe: every n-th pair of train is valid")
    markup: tuple[str, ...] = Field(
        ("url", "talkid", "keywords"), description="lines of train with these tags go"
    )
    test_parts: tuple[PartName, ...] = Field(
        ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"),
        min_length=1,
        description="joined in this order, as far as they are there",
    )


class _Place(NamedTuple):
    """Where a pair's texts are: an archive or a folder, and the pair as named in it."""

    path: Path
    named: Direction


class Iwslt14Source:
    """Cuts train, valid and test of each pair once, into the cache, and reads them from there.

    `evaluated` are the pairs whose valid or test come from an evaluation set: if they are not
    trained, they need no archive.
    """

    def __init__(
        self, settings: Iwslt14Settings, *, evaluated: Collection[Direction] = frozenset()
    ) -> None:
        self._settings = settings
        self._codes = list(settings.language_table())
        self._root = Path(settings.root).expanduser()
        self._places: dict[Direction, _Place] = {}
        self._cut: dict[Direction, Path] = {}
        self._hashes: dict[Path, str] = {}
        directions = set(settings.parsed_directions)
        missing: list[Direction] = []
        for pair in settings.parsed_pairs:
            if place := self._place(pair):
                self._places[pair] = place
            elif {pair, pair.reverse} & directions or pair not in evaluated:
                missing.append(pair)
        if missing:
            names = ", ".join(f"{pair}.tgz" for pair in missing)
            raise DataError(
                f"data.root {self._root} has neither {names} nor folders of these names",
                fix="correct data.root, or take the pairs out of data.pairs",
            )

    def licences(self) -> dict[str, str]:
        """TED's; a README in each archive holds the terms."""
        return dict.fromkeys(self._codes, LICENCE)

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """Hash the archives that are there; the cache remembers those that did not change."""
        self._hashes = content_hashes(self._inputs(), cache=cache, progress=progress)

    def identity(self) -> dict[str, Any]:
        """The content of each archive, or of the files used of a folder."""
        hashes = self._hashes or content_hashes(self._inputs())
        return {
            "recipe": _RECIPE,
            "inputs": {
                str(pair): {path.name: hashes[path] for path in self._files_of(place)}
                for pair, place in self._places.items()
            },
        }

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """Train and test, if there is an archive, and valid as the recipe cuts it."""
        if pair not in self._places:
            return ()
        return SPLITS if self._settings.valid_cut == "recipe" else ("train", "test")

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Cut each pair, unless the cache has it; nothing is downloaded."""
        folder, identity = cache / "iwslt14", self.identity()
        with taking_turns(folder / ".lock"), step("cutting IWSLT-14", shown=progress) as bars:
            for pair in each({str(pair): pair for pair in self._places}, bars):
                self._cut[pair] = self._prepare(pair, folder, identity["inputs"][str(pair)])

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the pairs of a split; call `fetch` first."""
        if pair not in self._cut:
            raise DataError("IWSLT-14 is not cut yet", fix="call fetch first")
        sides = (self._cut[pair] / f"{split}.{code}" for code in (pair.source, pair.target))
        yield from read_aligned(*sides)

    def _place(self, pair: Direction) -> _Place | None:
        """The archive, or the folder, of a pair; the recipe takes de-en before en-de."""
        pivot = self._settings.pivot
        for named in (pair, pair.reverse) if pair.target == pivot else (pair.reverse, pair):
            for path in (self._root / f"{named}.tgz", self._root / str(named)):
                if path.exists():
                    return _Place(path, named)
        return None

    def _inputs(self) -> list[Path]:
        return [path for place in self._places.values() for path in self._files_of(place)]

    def _files_of(self, place: _Place) -> list[Path]:
        """The archive, or what is used of a folder."""
        if place.path.is_file():
            return [place.path]
        found = (locate(place.path / name) for name in sorted(self._wanted(place.named)))
        return [path for path in found if path]

    def _wanted(self, named: Direction) -> set[str]:
        sides = (named.source, named.target)
        train = {_train(named, code) for code in sides}
        parts = self._settings.test_parts
        return train | {_part(part, named, code) for part in parts for code in sides}

    def _prepare(self, pair: Direction, cache: Path, inputs: dict[str, str]) -> Path:
        place = self._places[pair]
        decisive = {
            "inputs": inputs,
            "recipe": _RECIPE,
            "sacremoses": version("sacremoses"),
            **self._settings.model_dump(
                mode="json",
                include={"lowercase", "tokenised", "max_tokens", "max_ratio", "valid_cut"}
                | {"valid_every", "markup", "test_parts"},
            ),
        }
        key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:12]
        folder = cache / f"{place.named}-{key}"
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix=".unpacked-") as scratch:
                texts = place.path
                if texts.is_file():
                    texts = Path(scratch)
                    extract(place.path, self._wanted(place.named), texts)
                with replace_folder(folder) as part:
                    _Recipe(self._settings, place, texts).write(part)
        return folder


class _Recipe:
    """Cuts the files of one pair, which lie unpacked in the folder `texts`."""

    def __init__(self, settings: Iwslt14Settings, place: _Place, texts: Path) -> None:
        self._settings, self._place, self._texts = settings, place, texts
        self._codes = (place.named.source, place.named.target)
        self._sides = [_Side(code, settings) for code in self._codes]

    def write(self, folder: Path) -> None:
        """Write `train.de`, `train.en`, `valid.de` and so on into a folder."""
        with ExitStack() as stack:
            sinks = {
                (split, code): stack.enter_context(
                    (folder / f"{split}.{code}").open("w", encoding="utf-8", newline="\n")
                )
                for split in SPLITS
                for code in self._codes
            }
            for split, texts in self._dealt():
                for code, text in zip(self._codes, texts, strict=True):
                    sinks[split, code].write(f"{text}\n")

    def _dealt(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        every = self._settings.valid_every if self._settings.valid_cut == "recipe" else None
        for number, pair in enumerate(self._train(), 1):
            yield "valid" if every and number % every == 0 else "train", pair
        for pair in self._test():
            yield "test", pair

    def _train(self) -> Iterator[tuple[str, ...]]:
        """The pairs of train that pass the length filter, valid still among them."""
        most, ratio = self._settings.max_tokens, self._settings.max_ratio
        paths = self._found([_train(self._place.named, code) for code in self._codes])
        for raw in self._aligned([self._running(path) for path in paths], "train"):
            tokens = [side.tokenise(text) for side, text in zip(self._sides, raw, strict=True)]
            shorter, longer = sorted(len(side.split()) for side in tokens)
            if shorter >= 1 and longer <= most and longer <= ratio * shorter:
                forms = zip(self._sides, raw, tokens, strict=True)
                yield tuple(side.finish(text, split) for side, text, split in forms)

    def _running(self, path: Path) -> Iterator[str]:
        """The lines of train without markup."""
        markup = tuple(f"<{tag}>" for tag in self._settings.markup)
        for line in read_lines(path):
            if not any(tag in line for tag in markup):
                yield _TAGS.sub("", line).strip()

    def _test(self) -> Iterator[tuple[str, ...]]:
        """The segments of all parts that are there."""
        parts = 0
        for part in self._settings.test_parts:
            names = [_part(part, self._place.named, code) for code in self._codes]
            if not any(locate(self._texts / name) for name in names):
                continue
            parts += 1
            for raw in self._aligned([_segments(path) for path in self._found(names)], part):
                forms = zip(self._sides, raw, strict=True)
                yield tuple(side.finish(text, side.tokenise(text)) for side, text in forms)
        if not parts:
            raise DataError(
                f"{self._place.path} has no test set of '{self._place.named}'",
                fix="take the archive of the release 2014-01, or set data.test_parts",
            )

    def _found(self, names: list[str]) -> list[Path]:
        paths = [path for name in names if (path := locate(self._texts / name))]
        if len(paths) < len(names):
            lacking = [name for name in names if not locate(self._texts / name)]
            raise DataError(
                f"{self._place.path} lacks {', '.join(lacking)}",
                fix="download or unpack the archive again: it is not whole",
            )
        return paths

    def _aligned(self, sides: list[Iterator[str]], what: str) -> Iterator[tuple[str, ...]]:
        for number, texts in enumerate(zip_longest(*sides), 1):
            if None in texts:
                raise DataError(
                    f"{self._place.path}: sentence {number} of {what} has no counterpart",
                    fix="download or unpack the archive again: the two sides differ in length",
                )
            yield texts


class _Side:
    """What is done to the text of one language."""

    def __init__(self, language: str, settings: Iwslt14Settings) -> None:
        self._tokenizer = MosesTokenizer(lang=language)
        self._settings = settings

    def tokenise(self, text: str) -> str:
        tokens: str = self._tokenizer.tokenize(text, return_str=True)
        return tokens

    def finish(self, text: str, tokens: str) -> str:
        """The text to give; only running text is rid of the entities of XML."""
        # An entity may stand for the end of a line.
        running = collapse_whitespace(html.unescape(text))
        given = tokens if self._settings.tokenised else running
        return given.lower() if self._settings.lowercase else given


def _train(named: Direction, code: str) -> str:
    return f"train.tags.{named}.{code}"


def _part(part: str, named: Direction, code: str) -> str:
    return f"IWSLT14.{part}.{named}.{code}.xml"


def _segments(path: Path) -> Iterator[str]:
    """The sentences of a test file, one a line in these files, with straight apostrophes."""
    for line in read_lines(path):
        if "<seg id" in line:
            yield _SEGMENT.sub("", line).replace("’", "'").strip()
