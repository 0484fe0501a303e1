"""Files of parallel text below a folder, found by the patterns of their names."""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import NamedTuple

from nsmt.data.settings import CorpusSettings
from nsmt.data.sources.contents import content_hashes
from nsmt.data.sources.lines import COMPRESSIONS, locate, only, read_aligned
from nsmt.data.split import SPLITS
from nsmt.errors import DataError
from nsmt.languages import Direction
from nsmt.progress import each, step

LINE_FIELDS = frozenset({"split", "src", "tgt", "lang"})


def check_pattern(
    pattern: str,
    *,
    known: Collection[str] = LINE_FIELDS,
    needed: Collection[str] = frozenset({"lang"}),
) -> str:
    """Return the pattern of a file name if it has the fields and stays below its folder."""
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"pattern '{pattern}' leaves the folder `root`")
    fields = {field for _, field, _, _ in Formatter().parse(pattern) if field is not None}
    if unknown := fields - set(known):
        raise ValueError(f"pattern fields {sorted(unknown)} unknown; use {sorted(known)}")
    if set(needed) - fields:
        raise ValueError(f"pattern '{pattern}' needs {{lang}}, one file a language")
    if "**" in pattern or pattern.endswith("*"):
        raise ValueError(f"pattern '{pattern}': one * at a time, and not at the end")
    return pattern


class Inputs(NamedTuple):
    """Where the two sides of a corpus are: two files of lines, or two columns of one.

    `swapped` says that the names of the files, and so the columns, are of the pair's reverse.
    """

    source: Path
    target: Path
    swapped: bool

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files of which the pair is read: two, or the one that holds both columns."""
        return tuple(dict.fromkeys((self.source, self.target)))

    def identity(self, hashes: Mapping[Path, str]) -> list[str]:
        """The content of the files; of columns also whether they are swapped."""
        contents = [hashes[path] for path in self.paths]
        return [*contents, "swapped"] if len(contents) == 1 and self.swapped else contents


class ParallelFiles:
    """The files of some pairs and splits below a folder, found by the patterns of their names.

    Args:
        root: the folder.
        patterns: the pattern of each split; see `check_pattern`.
        pairs: what to look for.
        key: the configuration's name of the patterns, for messages.

    Raises:
        DataError: one side of a corpus without the other; several files that could be meant, as a
            corpus that is there both ways round, or plain and compressed.
    """

    def __init__(
        self, root: Path, patterns: Mapping[str, str], pairs: Iterable[Direction], *, key: str
    ) -> None:
        self._root, self._patterns, self._key = root, patterns, key
        self.found: dict[tuple[Direction, str], list[Inputs]] = {
            (pair, split): inputs
            for pair in pairs
            for split in SPLITS
            if split in patterns and (inputs := self._find(pair, split))
        }

    def paths(self) -> set[Path]:
        """All input files."""
        return {path for found in self.found.values() for inputs in found for path in inputs.paths}

    def identity(self, hashes: Mapping[Path, str]) -> dict[str, list[list[str]]]:
        """By pair and split, the content of the files of each corpus, in the order of reading.

        Neither the folder nor the names of files are part of it: what they say is in the order.
        """
        return {
            f"{pair} {split}": [inputs.identity(hashes) for inputs in found]
            for (pair, split), found in self.found.items()
        }

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """The splits of which files are there."""
        return tuple(split for split in SPLITS if (pair, split) in self.found)

    def require_text(self, settings: CorpusSettings, *, evaluated: Collection[Direction]) -> None:
        """A DataError for a trained pair without train, and for a pair without anything.

        Pairs of `evaluated` get their text of valid or test elsewhere.
        """
        directions = set(settings.parsed_directions)
        for pair in settings.parsed_pairs:
            trained = {pair, pair.reverse} & directions
            given = self.splits(pair)
            if "train" in given or (not trained and (given or pair in evaluated)):
                continue
            names = {self._name(pair, "train", code, ()) for code in (pair.source, pair.target)}
            raise DataError(
                f"no training text of '{pair}' in {self._root}: {', '.join(sorted(names))} missing",
                fix=f"correct data.root or {self._key}, or take the pair out of data.pairs",
            )

    def _find(self, pair: Direction, split: str) -> list[Inputs]:
        found: dict[tuple[str, ...], Inputs] = {}
        for named in (pair, pair.reverse):
            for corpus, inputs in self._named(named, pair, split).items():
                before = found.setdefault(corpus, inputs)
                # A pattern that does not name the pair finds the same files twice.
                for one, other in zip(before.paths, inputs.paths, strict=True):
                    only([one, other] if one != other else [one])
        return [found[corpus] for corpus in sorted(found)]

    def _named(
        self, named: Direction, pair: Direction, split: str
    ) -> dict[tuple[str, ...], Inputs]:
        """The files of a pair that are named as one of its directions, by corpus."""
        sources = self._matches(named, split, pair.source)
        targets = self._matches(named, split, pair.target)
        found: dict[tuple[str, ...], Inputs] = {}
        for corpus in sorted(sources.keys() | targets.keys()):
            source, target = sources.get(corpus), targets.get(corpus)
            if not (source and target):
                lacking = pair.target if source else pair.source
                raise DataError(
                    f"{split} of '{pair}' has one side only: {source or target} is there, "
                    f"{self._name(named, split, lacking, corpus)} is missing",
                    fix=f"add the other file, named by {self._key} '{self._patterns[split]}'",
                )
            found[corpus] = Inputs(source, target, swapped=named != pair)
        return found

    def _matches(self, pair: Direction, split: str, language: str) -> dict[tuple[str, ...], Path]:
        """The files of one side, by what each * of the pattern stands for."""
        name = self._name(pair, split, language, ())
        if "*" not in name:
            path = locate(self._root / name)
            return {(): path} if path else {}
        expression = re.compile("([^/]*)".join(re.escape(part) for part in name.split("*")))
        wanted = glob.escape(name).replace("[*]", "*")
        found: dict[tuple[str, ...], list[Path]] = {}
        for suffix in COMPRESSIONS:
            for path in self._root.glob(wanted + suffix):
                relative = path.relative_to(self._root)
                match = expression.fullmatch(relative.as_posix().removesuffix(suffix))
                # Unfinished copies are hidden files.
                hidden = any(part.startswith(".") for part in relative.parts)
                if match and path.is_file() and not hidden:
                    found.setdefault(match.groups(), []).append(path)
        return {corpus: path for corpus, paths in found.items() if (path := only(paths))}

    def _name(self, pair: Direction, split: str, language: str, corpus: tuple[str, ...]) -> str:
        name = self._patterns[split].format(
            split=split, src=pair.source, tgt=pair.target, lang=language
        )
        for text in corpus:
            name = name.replace("*", text, 1)
        return name


class LocalFiles:
    """What sources that read the user's own files have in common.

    `evaluated` are the pairs whose valid or test come from an evaluation set: if they are not
    trained, they need no files.
    """

    def __init__(
        self,
        settings: CorpusSettings,
        *,
        root: str,
        patterns: Mapping[str, str],
        evaluated: Collection[Direction],
    ) -> None:
        self._files = ParallelFiles(
            Path(root).expanduser(), patterns, settings.parsed_pairs, key="data.pattern"
        )
        self._files.require_text(settings, evaluated=evaluated)
        self._hashes: dict[Path, str] = {}

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """Hash the files that are there; the cache remembers those that did not change."""
        self._hashes = content_hashes(self._files.paths(), cache=cache, progress=progress)

    def identity(self) -> dict[str, list[list[str]]]:
        """The content of the files by pair and split."""
        return self._files.identity(self._hashes or content_hashes(self._files.paths()))

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """The splits of which files are there."""
        return self._files.splits(pair)

    def fetch(self, cache: Path, *, progress: bool = True) -> None:  # noqa: ARG002
        """Check every line of every file; nothing is downloaded."""
        with step("checking files", shown=progress) as bars:
            for pair, split in each({f"{s} {p}": (p, s) for p, s in self._files.found}, bars):
                for _ in self.lines(pair, split):
                    pass

    def lines(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the aligned lines, as they are, of one corpus after the other.

        Unequal numbers of lines are a DataError with the line.
        """
        for inputs in self._files.found[pair, split]:
            yield from self._lines_of(pair, inputs)

    def _lines_of(self, pair: Direction, inputs: Inputs) -> Iterator[tuple[str, str]]:  # noqa: ARG002
        return read_aligned(inputs.source, inputs.target)
