"""The prepared corpus: piece ids in memory-mapped Arrow files, one a pair and split.

A file holds one record batch with a list column a language (pieces without tags or </s>), so a
column is two flat buffers, values and offsets, that numpy views without a copy. Whole corpora are
never read: resident memory grows with what is touched, and processes share it (pitfall 15).
Valid and test files also hold the text columns. `corpus.json` names everything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
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
VERSION = 2
MANIFEST = "corpus.json"
REPORT = "preparation.json"


@dataclass(frozen=True, slots=True)
class TokenColumn:
    """One language's pieces of a table: flat values and where each sentence begins."""

    values: np.ndarray
    offsets: np.ndarray

    def __getitem__(self, row: int) -> np.ndarray:
        """A read-only view on the pieces of one sentence."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Pieces of each sentence, int32."""
        return np.diff(self.offsets).astype(np.int32)


@dataclass(frozen=True)
class TokenTable:
    """The sentences of one direction and split, in file order; rows are the same both ways."""

    sources: TokenColumn
    targets: TokenColumn

    def __len__(self) -> int:
        return len(self.sources.offsets) - 1

    @cached_property
    def source_lengths(self) -> np.ndarray:
        """Pieces of each source sentence, without tag and </s>; int32."""
        return self.sources.lengths

    @cached_property
    def target_lengths(self) -> np.ndarray:
        """Pieces of each target sentence, without tag and </s>; int32."""
        return self.targets.lengths

    def source(self, row: int) -> np.ndarray:
        """A read-only view on the piece ids of a source sentence."""
        return self.sources[row]

    def target(self, row: int) -> np.ndarray:
        """A read-only view on the piece ids of a target sentence."""
        return self.targets[row]


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
        self._opened: dict[tuple[Direction, str], pa.RecordBatch] = {}

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
        batch = self._batch(direction, split)
        return TokenTable(_column(batch, direction.source), _column(batch, direction.target))

    def texts(self, direction: Direction, split: str) -> tuple[list[str], list[str]]:
        """Source and target sentences of valid or test, in the order of the table's rows."""
        if split == "train":
            raise DataError(
                "the text of train is not kept", fix="ask for valid or test, or decode the pieces"
            )
        batch = self._batch(direction, split)
        return (
            batch.column(f"{direction.source}.text").to_pylist(),
            batch.column(f"{direction.target}.text").to_pylist(),
        )

    def verify(self) -> None:
        """Read every file and compare its SHA-256; damage is a DataError that names the file."""
        for name, entry in self._manifest["files"].items():
            if sha256(self.folder / name) != entry["sha256"]:
                raise DataError(
                    f"{self.folder / name} was changed after it was prepared",
                    fix="delete the folder and prepare the corpus again",
                )

    def _batch(self, direction: Direction, split: str) -> pa.RecordBatch:
        pair = direction if direction in self.pairs else direction.reverse
        if pair not in self.pairs or split not in SPLITS:
            raise DataError(
                f"the corpus {self.name} has no {split} text for '{direction}'",
                fix=f"splits: {', '.join(SPLITS)}; pairs: {', '.join(map(str, self.pairs))}",
            )
        if (pair, split) not in self._opened:
            mapped = pa.memory_map(str(self.folder / table_name(pair, split)))
            self._opened[pair, split] = pa.ipc.open_file(mapped).get_batch(0)
        return self._opened[pair, split]

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers open the files themselves instead of receiving a copy.
        return Corpus.open, (self.folder,)


def table_name(pair: Direction, split: str) -> str:
    """The name of a pair's file within a corpus folder."""
    return f"{split}.{pair}.arrow"


def token_type(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest unsigned type, of 16 or 32 bits, that holds every id."""
    return np.dtype(np.uint16 if vocabulary_size <= 1 << 16 else np.uint32)


def write_table(
    path: Path,
    columns: Mapping[str, TokenColumn],
    *,
    texts: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write one pair and split: pieces by language and, if given, the texts by language."""
    arrays: dict[str, pa.Array] = {
        code: pa.LargeListArray.from_arrays(
            pa.array(column.offsets, type=pa.int64()), pa.array(column.values)
        )
        for code, column in columns.items()
    }
    for code, lines in (texts or {}).items():
        arrays[f"{code}.text"] = pa.array(lines, type=pa.large_string())
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _column(batch: pa.RecordBatch, language: str) -> TokenColumn:
    array = batch.column(language)
    return TokenColumn(
        array.values.to_numpy(zero_copy_only=True), array.offsets.to_numpy(zero_copy_only=True)
    )


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
