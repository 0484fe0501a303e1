"""The user's own parallel files: line-aligned, or columns of a TSV, plain or compressed.

File names follow `data.pattern`, for instance `train.en-de.en` and `train.en-de.de`, looked for
as they are and with .gz, .bz2, .xz or .zst, with the pair named either way round. A `*` in the
pattern stands for the name of a corpus: with `*.{src}-{tgt}.{lang}`, the Moses files of OPUS such
as `CCAligned.en-de.en` are read one corpus after the other, in the order of their names. `fetch`
reads everything once, so that a missing file, an unequal number of lines or invalid UTF-8 is told
before anything is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.sources.lines import read_lines
from nsmt.data.sources.parallel_files import LINE_FIELDS, Inputs, LocalFiles, check_pattern
from nsmt.data.split import SPLITS
from nsmt.errors import DataError
from nsmt.languages import Direction


class FilesSettings(CorpusSettings):
    """The user's own parallel files, plain or compressed (.gz .bz2 .xz .zst)."""

    places: ClassVar = frozenset({"root"})

    source: Literal["files"]
    name: CorpusName = "files"
    root: str = Field(description="folder of the files")
    format: Literal["lines", "tsv"] = "lines"
    pattern: str = Field(
        "{split}.{src}-{tgt}.{lang}",
        description="file name below root; fields {split} {src} {tgt} {lang}, * for any corpus",
    )
    header: bool = Field(
        default=False, description="tsv: the first row holds the columns' language codes"
    )
    licences: dict[str, str] = Field(
        default_factory=dict, description="the text's licence by language, to be recorded"
    )

    @model_validator(mode="after")
    def _pattern_fits(self) -> Self:
        if self.format == "lines":
            check_pattern(self.pattern)
        else:
            check_pattern(self.pattern, known=LINE_FIELDS - {"lang"}, needed=frozenset())
        return self


class FilesSource(LocalFiles):
    """Reads the files that a pattern names below a folder."""

    def __init__(
        self, settings: FilesSettings, *, evaluated: Collection[Direction] = frozenset()
    ) -> None:
        splits = SPLITS if "{split}" in settings.pattern else ("train",)
        patterns = dict.fromkeys(splits, settings.pattern)
        super().__init__(settings, root=settings.root, patterns=patterns, evaluated=evaluated)
        self._settings = settings

    def licences(self) -> dict[str, str]:
        """As configured by data.licences."""
        stated = self._settings.licences
        return {code: stated.get(code, "not stated") for code in self._settings.language_table()}

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the aligned lines, or the pair's columns, of one corpus after the other."""
        return self.lines(pair, split)

    def _lines_of(self, pair: Direction, inputs: Inputs) -> Iterator[tuple[str, str]]:
        if self._settings.format == "lines":
            return super()._lines_of(pair, inputs)
        return self._columns(pair, inputs)

    def _columns(self, pair: Direction, inputs: Inputs) -> Iterator[tuple[str, str]]:
        path = inputs.source
        lines = read_lines(path)
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


def _header_columns(header: str, pair: Direction, path: Path) -> tuple[int, int]:
    codes = header.split("\t")
    if missing := [code for code in (pair.source, pair.target) if code not in codes]:
        raise DataError(
            f"{path}: the first row has no column {' or '.join(missing)}, only {', '.join(codes)}",
            fix="name the columns by language codes, or set data.header=false",
        )
    return codes.index(pair.source), codes.index(pair.target)
