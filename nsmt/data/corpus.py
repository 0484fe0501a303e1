"""The prepared corpus: piece ids in flat files, opened in milliseconds.

A pair and split has four flat arrays in numpy's format: for each language the ids of all its
sentences one after the other (pieces without tags or </s>, in the smallest integer type), and
where each sentence begins. Whole corpora are never read (pitfall 15). Valid and test also have
their text, in an Arrow file. `corpus.json` names everything else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nsmt.data.split import SPLITS
from nsmt.data.vocabulary import VOCABULARY, Vocabulary
from nsmt.errors import DataError
from nsmt.files import sha256
from nsmt.languages import Direction, LanguageSettings, LanguageTable

SCHEMA = "nsmt.corpus"
# Raised whenever other bytes come of the same settings and inputs: changed cleaning included.
VERSION = 5
MANIFEST = "corpus.json"
REPORT = "preparation.json"
_PARTS = ("ids", "offsets")
# Sentences whose lengths are in memory together.
_AT_ONCE = 1 << 20


class StoredArray:
    """A flat array in numpy's format, of which only what is asked for comes into memory.

    Sentences are read, not mapped: the system maps whole extents around the page that is touched,
    so that a thousand random sentences made a mapped file of 200 MB resident.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        mapped = np.load(path, mmap_mode="r")
        self.dtype, self._length, self._begin = mapped.dtype, len(mapped), mapped.offset

    def __len__(self) -> int:
        return self._length

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process opens the file itself.
        return StoredArray, (self._path,)

    def __getitem__(self, where: slice | np.ndarray) -> np.ndarray:
        """A stretch, or the elements at some places; read-only or a copy."""
        if isinstance(where, np.ndarray):
            # The mapping goes, and its pages with it.
            return np.asarray(np.load(self._path, mmap_mode="r")[where])
        start, stop, _ = where.indices(self._length)
        size = self.dtype.itemsize
        content = _read_at(self._path, self._begin + start * size, max(0, stop - start) * size)
        return np.frombuffer(content, dtype=self.dtype)


# A corpus of a hundred pairs has more arrays than a process may have open files.
@lru_cache(maxsize=256)
def _open(path: Path) -> FileIO:
    return FileIO(path)


def _read_at(path: Path, begin: int, size: int) -> bytes:
    """So many bytes; the system reads at most 2 GiB at once."""
    file, parts = _open(path), []
    while size and (part := os.pread(file.fileno(), size, begin)):
        parts.append(part)
        begin, size = begin + len(part), size - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class TokenColumn:
    """One language's pieces of a table: flat values and where each sentence begins."""

    values: StoredArray | np.ndarray
    offsets: StoredArray | np.ndarray

    def __getitem__(self, row: int) -> np.ndarray:
        """The pieces of one sentence."""
        start, stop = self.offsets[row : row + 2].tolist()
        return self.values[start:stop]

    def __len__(self) -> int:
        """How many sentences there are."""
        return len(self.offsets) - 1

    def lengths(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pieces of the sentences at `rows`, or of all; int32."""
        if rows is None:
            return np.diff(self.offsets[:]).astype(np.int32)
        return np.asarray(self.offsets[rows + 1] - self.offsets[rows], dtype=np.int32)

    def longest(self) -> int:
        """Pieces of the longest sentence; however many there are, a part is in memory."""
        starts = range(0, len(self), _AT_ONCE)
        parts = (np.diff(self.offsets[start : start + _AT_ONCE + 1]) for start in starts)
        return max((int(part.max()) for part in parts), default=0)


@dataclass(frozen=True)
class TokenTable:
    """The sentences of one direction and split, in file order; rows are the same both ways."""

    sources: TokenColumn
    targets: TokenColumn

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def source_lengths(self) -> np.ndarray:
        """Pieces of each source sentence, without tag and </s>; int32."""
        return self.sources.lengths()

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """Pieces of each target sentence, without tag and </s>; int32."""
        return self.targets.lengths()

    def source(self, row: int) -> np.ndarray:
        """The piece ids of a source sentence."""
        return self.sources[row]

    def target(self, row: int) -> np.ndarray:
        """The piece ids of a target sentence."""
        return self.targets[row]


def encoded_table(
    vocabulary: Vocabulary, sources: Sequence[str], targets: Sequence[str]
) -> TokenTable:
    """The pieces of text that no corpus holds, in memory; row n is sentence n of both sides."""

    def column(texts: Sequence[str]) -> TokenColumn:
        ids, lengths = vocabulary.encode_flat(texts)
        offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
        return TokenColumn(ids, offsets)

    return TokenTable(column(sources), column(targets))


class Corpus:
    """A prepared corpus, opened in milliseconds whatever its size."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self._manifest = manifest
        self.name: str = manifest["name"]
        self.pivot: str = manifest["pivot"]
        self.pairs = [Direction.parse(text) for text in manifest["pairs"]]
        self.directions = [Direction.parse(text) for text in manifest["directions"]]
        described = manifest["languages"]
        self.languages = LanguageTable(
            described, {code: LanguageSettings(**entry) for code, entry in described.items()}
        )
        self.licences: dict[str, str] = manifest["licences"]
        self.fingerprint: str = manifest["fingerprint"]
        self._opened: dict[tuple[Direction, str, str], TokenColumn] = {}

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        """Open a prepared folder; a missing, incomplete or foreign one is a DataError."""
        manifest = _read_manifest(folder)
        for name, entry in manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["bytes"]:
                raise DataError(
                    f"the corpus {folder} is incomplete: {name} is missing or was cut short",
                    fix="delete the folder and prepare the corpus again",
                )
        return cls(folder, manifest)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that the pieces belong to."""
        return Vocabulary.load(self.folder / VOCABULARY)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What preparation read, kept and dropped: counts by pair, split and reason."""
        report: dict[str, Any] = json.loads((self.folder / REPORT).read_text(encoding="utf-8"))
        return report

    def table(self, direction: Direction, split: str) -> TokenTable:
        """The pieces of a direction; "de-en" reads the pair "en-de" the other way round."""
        pair = self._pair(direction, split)
        return TokenTable(
            self._column(pair, split, direction.source), self._column(pair, split, direction.target)
        )

    def texts(self, direction: Direction, split: str) -> tuple[list[str], list[str]]:
        """Source and target sentences of valid or test, in the order of the table's rows."""
        if split == "train":
            raise DataError(
                "the text of train is not kept", fix="ask for valid or test, or decode the pieces"
            )
        path = self.folder / _text_name(self._pair(direction, split), split)
        with pa.memory_map(str(path)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            return (
                table.column(direction.source).to_pylist(),
                table.column(direction.target).to_pylist(),
            )

    def verify(self) -> None:
        """Read every file and compare its SHA-256; damage is a DataError that names the file."""
        for name, entry in self._manifest["files"].items():
            if sha256(self.folder / name) != entry["sha256"]:
                raise DataError(
                    f"{self.folder / name} was changed after it was prepared",
                    fix="delete the folder and prepare the corpus again",
                )

    def _pair(self, direction: Direction, split: str) -> Direction:
        """The pair as the corpus names it."""
        pair = direction if direction in self.pairs else direction.reverse
        if pair not in self.pairs or split not in SPLITS:
            raise DataError(
                f"the corpus {self.name} has no {split} text for '{direction}'",
                fix=f"splits: {', '.join(SPLITS)}; pairs: {', '.join(map(str, self.pairs))}",
            )
        return pair

    def _column(self, pair: Direction, split: str, language: str) -> TokenColumn:
        key = (pair, split, language)
        if key not in self._opened:
            paths = (self.folder / f"{split}.{pair}.{language}.{part}.npy" for part in _PARTS)
            self._opened[key] = TokenColumn(*map(StoredArray, paths))
        return self._opened[key]

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers open the files themselves instead of receiving a copy.
        return Corpus.open, (self.folder,)


def token_type(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest unsigned type, of 16 or 32 bits, that holds every id."""
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)


class TableWriter:
    """Writes one pair and split a block at a time; what is in memory does not grow."""

    def __init__(self, folder: Path, pair: Direction, split: str, dtype: np.dtype[Any]) -> None:
        self._codes = (pair.source, pair.target)
        stem = folder / f"{split}.{pair}"
        self._ids = [_ArrayFile(Path(f"{stem}.{code}.ids.npy"), dtype) for code in self._codes]
        offsets = np.dtype(np.int64)
        self._offsets = [
            _ArrayFile(Path(f"{stem}.{code}.offsets.npy"), offsets) for code in self._codes
        ]
        for file in self._offsets:
            file.append(np.zeros(1, dtype=offsets))
        self._ends = [0, 0]
        self._texts = None if split == "train" else folder / _text_name(pair, split)
        self._lines: tuple[list[str], list[str]] = ([], [])

    def add(
        self,
        pieces: Sequence[tuple[np.ndarray, np.ndarray]],
        *,
        texts: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> None:
        """Append sentences: flat ids and lengths of both sides, and their text unless of train."""
        for side, (ids, lengths) in enumerate(pieces):
            self._ids[side].append(ids)
            ends = self._ends[side] + np.cumsum(lengths)
            self._offsets[side].append(ends)
            self._ends[side] += int(lengths.sum())
        for lines, added in zip(self._lines, texts or ([], []), strict=True):
            lines.extend(added)

    def finish(self) -> dict[str, int]:
        """Close the files; how many pieces each language has."""
        for file in (*self._ids, *self._offsets):
            file.close()
        if self._texts is not None:
            arrays = [pa.array(lines, type=pa.large_string()) for lines in self._lines]
            batch = pa.RecordBatch.from_arrays(arrays, names=list(self._codes))
            sink = pa.OSFile(str(self._texts), "wb")
            with sink, pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
        return dict(zip(self._codes, self._ends, strict=True))


class _ArrayFile:
    """A one-dimensional .npy file that grows; its header has room for any length."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._file = path.open("wb")
        self._dtype, self._length = dtype, 0
        self._write_header()

    def append(self, values: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._length += len(values)

    def close(self) -> None:
        self._file.seek(0)
        self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        described = np.lib.format.dtype_to_descr(self._dtype)
        header = {"descr": described, "fortran_order": False, "shape": (self._length,)}
        np.lib.format.write_array_header_1_0(self._file, header)


def _text_name(pair: Direction, split: str) -> str:
    return f"{split}.{pair}.text.arrow"


def _read_manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{folder} holds no readable {MANIFEST}, so it is no prepared corpus",
            fix="prepare the corpus, or correct the path",
        ) from None
    if manifest.get("schema") != SCHEMA or manifest.get("version") != VERSION:
        found = f"{manifest.get('schema')} version {manifest.get('version')}"
        raise DataError(
            f"the corpus {folder} is of {found}; this nsmt reads {SCHEMA} version {VERSION}",
            fix="prepare the corpus again with this nsmt",
        )
    return manifest
