"""The user's own parallel files: line-aligned, or columns of a TSV, plain or compressed.

File names follow `data.pattern`, for instance `train.en-de.en` and `train.en-de.de`, looked for
as they are and with .gz, .bz2, .xz or .zst, with the pair named either way round. Lines end at
LF alone (a CR before it goes): other characters that Python's `splitlines` breaks at occur in
text and would shift the alignment. `fetch` reads everything once, so that a missing file, an
unequal number of lines or invalid UTF-8 is told before anything is written.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from string import Formatter
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple, Self, cast

import zstandard
from pydantic import Field, model_validator

from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.split import SPLITS
from nsmt.errors import DataError
from nsmt.languages import Direction
from nsmt.progress import each, step

_COMPRESSIONS = ("", ".gz", ".bz2", ".xz", ".zst")


class FilesSettings(CorpusSettings):
    """The user's own parallel files, plain or compressed (.gz .bz2 .xz .zst)."""

    places: ClassVar = frozenset({"root"})

    source: Literal["files"]
    name: CorpusName = "files"
    root: str = Field(description="folder of the files")
    format: Literal["lines", "tsv"] = "lines"
    pattern: str = Field(
        "{split}.{src}-{tgt}.{lang}",
        description="file name below root; fields {split} {src} {tgt} {lang}",
    )
    header: bool = Field(
        default=False, description="tsv: the first row holds the columns' language codes"
    )
    licences: dict[str, str] = Field(
        default_factory=dict, description="the text's licence by language, to be recorded"
    )

    @model_validator(mode="after")
    def _pattern_fits(self) -> Self:
        path = PurePosixPath(self.pattern)
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"pattern '{self.pattern}' leaves the folder `root`")
        fields = {field for _, field, _, _ in Formatter().parse(self.pattern) if field is not None}
        known = {"split", "src", "tgt"} | ({"lang"} if self.format == "lines" else set())
        if unknown := fields - known:
            raise ValueError(f"pattern fields {sorted(unknown)} unknown; use {sorted(known)}")
        if self.format == "lines" and "lang" not in fields:
            raise ValueError("pattern of format 'lines' needs {lang}, one file a language")
        return self


class Inputs(NamedTuple):
    """Where the two sides of a pair and split are: two files of lines, or two columns of one."""

    source: Path
    target: Path
    swapped: bool


class FilesSource:
    """Reads the files that a pattern names below a folder."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        self._root = Path(settings.root).expanduser()
        self._codes = list(settings.language_table())
        self._inputs = {
            (pair, split): found
            for pair in settings.parsed_pairs
            for split in SPLITS
            if (found := self._find(pair, split)) is not None
        }
        for pair in settings.parsed_pairs:
            self._require_some_split(pair)

    def licences(self) -> dict[str, str]:
        """As configured by data.licences."""
        return {code: self._settings.licences.get(code, "not stated") for code in self._codes}

    def identity(self) -> dict[str, Any]:
        """Name, size and time of the last change of each input file."""
        paths = {path for inputs in self._inputs.values() for path in inputs[:2]}
        stats = {path.relative_to(self._root).as_posix(): path.stat() for path in sorted(paths)}
        return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """The splits of which files are there."""
        return tuple(split for split in SPLITS if (pair, split) in self._inputs)

    def fetch(self, cache: Path, *, progress: bool = True) -> None:  # noqa: ARG002
        """Check every line of every file; nothing is downloaded."""
        with step("checking files", shown=progress) as bars:
            for pair, split in each({f"{s} {p}": (p, s) for p, s in self._inputs}, bars):
                for _ in self.read(pair, split):
                    pass

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the aligned lines; unequal numbers of lines are a DataError with the line."""
        inputs = self._inputs[pair, split]
        if self._settings.format == "tsv":
            rows = self._read_columns(pair, inputs)
        else:
            rows = _read_lines(inputs)
        yield from rows

    def _find(self, pair: Direction, split: str) -> Inputs | None:
        for named in (pair, pair.reverse):
            sides = [self._locate(named, split, code) for code in (pair.source, pair.target)]
            if sides[0] and sides[1]:
                return Inputs(sides[0], sides[1], swapped=named != pair)
            if sides[0] or sides[1]:
                raise DataError(
                    f"{split} of '{pair}' has one side only: {sides[0] or sides[1]}",
                    fix=f"add the other file, named by data.pattern '{self._settings.pattern}'",
                )
        return None

    def _locate(self, pair: Direction, split: str, language: str) -> Path | None:
        if "{split}" not in self._settings.pattern and split != "train":
            return None
        name = self._settings.pattern.format(
            split=split, src=pair.source, tgt=pair.target, lang=language
        )
        candidates = (self._root / f"{name}{suffix}" for suffix in _COMPRESSIONS)
        return next((path for path in candidates if path.is_file()), None)

    def _require_some_split(self, pair: Direction) -> None:
        trained = {pair, pair.reverse} & set(self._settings.parsed_directions)
        if "train" in self.splits(pair) or (self.splits(pair) and not trained):
            return
        names = {
            self._settings.pattern.format(split="train", src=pair.source, tgt=pair.target, lang=c)
            for c in (pair.source, pair.target)
        }
        raise DataError(
            f"no training text of '{pair}' in {self._root}: {', '.join(sorted(names))} missing",
            fix="correct data.root or data.pattern, or take the pair out of data.directions",
        )

    def _read_columns(self, pair: Direction, inputs: Inputs) -> Iterator[tuple[str, str]]:
        path = inputs.source
        with ExitStack() as stack:
            lines = _decoded_lines(stack.enter_context(_open(path)), path)
            columns = (1, 0) if inputs.swapped else (0, 1)
            first = 1
            if self._settings.header:
                columns, first = _header_columns(next(lines, ""), pair, path), 2
            width = max(columns) + 1
            for number, line in enumerate(lines, first):
                cells = line.split("\t")
                if len(cells) < width:
                    raise DataError(
                        f"{path}, line {number}: {len(cells)} columns, {width} are needed",
                        fix="separate the columns by tabs and repair the line",
                    )
                yield cells[columns[0]], cells[columns[1]]


def _read_lines(inputs: Inputs) -> Iterator[tuple[str, str]]:
    with ExitStack() as stack:
        sides = [_decoded_lines(stack.enter_context(_open(p)), p) for p in inputs[:2]]
        for number, (source, target) in enumerate(zip_longest(*sides), 1):
            if source is None or target is None:
                ended, longer = inputs[:2] if source is None else inputs[1::-1]
                raise DataError(
                    f"line {number} of {longer} has no counterpart: {ended} ends before it",
                    fix="align the files line by line; nothing was prepared",
                )
            yield source, target


def _decoded_lines(stream: BinaryIO, path: Path) -> Iterator[str]:
    number = 0
    try:
        for number, line in enumerate(stream, 1):  # noqa: B007
            yield line.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: byte {error.start + 1} of the line is not UTF-8",
            fix="convert the file to UTF-8, or repair the line",
        ) from None
    except (OSError, EOFError, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(
            f"{path} cannot be read after line {number}: {error}", fix="replace the damaged file"
        ) from None


def _open(path: Path) -> BinaryIO:
    """The file's bytes, decompressed by its suffix; iterating yields lines ended by LF."""
    match path.suffix:
        case ".gz":
            return cast("BinaryIO", gzip.open(path, "rb"))
        case ".bz2":
            return cast("BinaryIO", bz2.open(path, "rb"))
        case ".xz":
            return cast("BinaryIO", lzma.open(path, "rb"))
        case ".zst":
            return cast("BinaryIO", io.BufferedReader(_zstandard(path)))
        case _:
            return path.open("rb")


def _zstandard(path: Path) -> io.RawIOBase:
    # zstandard.open stops after the first frame; parallel compressors write many.
    decompressor = zstandard.ZstdDecompressor()
    return cast(
        "io.RawIOBase", decompressor.stream_reader(path.open("rb"), read_across_frames=True)
    )


def _header_columns(header: str, pair: Direction, path: Path) -> tuple[int, int]:
    codes = header.split("\t")
    if missing := [code for code in (pair.source, pair.target) if code not in codes]:
        raise DataError(
            f"{path}: the first row has no column {' or '.join(missing)}, only {', '.join(codes)}",
            fix="name the columns by language codes, or set data.header=false",
        )
    return codes.index(pair.source), codes.index(pair.target)
