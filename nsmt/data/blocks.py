"""Cleaned text on its way into the corpus: blocks of rows on disk, each made by one worker.

A block holds what cleaning kept of some 20,000 rows of the source, fewer where they are long: the
text, the split that each row was dealt to, and the hashes by which later passes drop repeated and
held-out rows without reading the text again. Counts of what was dropped travel in the file's
metadata. A block that is there is whole, so an interrupted preparation goes on behind the last one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from nsmt.data.cleaning import Cleaned, Cleaner
from nsmt.data.settings import CleaningSettings, CorpusSettings
from nsmt.data.sources import ParallelSource
from nsmt.data.split import SPLITS, HashSplit, deciding_side, pair_keys
from nsmt.data.tally import Tally
from nsmt.data.text import digest, normalise
from nsmt.data.workers import Workers
from nsmt.files import replace_file, replace_text
from nsmt.languages import Direction, Language

BLOCK_ROWS: Final = 20_000
# Of both sides, in UTF-8. Ordinary rows have a third; of 100,000-character lines it was gigabytes.
BLOCK_BYTES: Final = 1 << 24
_COUNTS: Final = b"nsmt.counts"
_SCHEMA: Final = pa.schema(
    {
        "source": pa.large_string(),
        "target": pa.large_string(),
        "split": pa.uint8(),
        # Recognition keys of both sides, and a hash of the pair as the vocabulary will read it.
        "source_key": pa.uint64(),
        "target_key": pa.uint64(),
        "mark": pa.uint64(),
        "place": pa.float64(),
    }
)


@dataclass(frozen=True, slots=True)
class RawBlock:
    """Rows of one pair and given split, in the order of the source, and where they go."""

    pair: Direction
    given: str
    rows: tuple[tuple[str, str], ...]
    settings: CorpusSettings
    splits: tuple[str, ...]
    path: Path


@dataclass(frozen=True, slots=True)
class CleanedPair:
    """The blocks of one pair; `given` are the splits that the source gave."""

    pair: Direction
    given: tuple[str, ...]
    blocks: tuple[Path, ...]
    # Which rows of each block are kept so far: bool arrays.
    kept: tuple[np.ndarray, ...]

    @property
    def dealt(self) -> list[bool]:
        """Which blocks come of the source's train, and were dealt to the splits it did not give."""
        return [path.name.startswith("train.") for path in self.blocks]


def clean_pairs(
    source: ParallelSource,
    settings: CorpusSettings,
    *,
    folder: Path,
    workers: Workers,
    advance: Callable[[], object],
) -> None:
    """Write all blocks of all pairs below `folder` that are not there yet; `advance` hears each."""
    for _ in workers.map(clean_block, _raw_blocks(source, settings, folder)):
        advance()
    for pair in settings.parsed_pairs:
        for split in source.splits(pair):
            replace_text(_done(folder, pair, split), "")


def cleaned_pair(folder: Path, pair: Direction, given: Sequence[str], tally: Tally) -> CleanedPair:
    """The finished blocks of a pair, all of their rows kept; counts go into the tally."""
    blocks = [
        path for split in given for path in sorted((folder / str(pair)).glob(f"{split}.*.arrow"))
    ]
    kept = []
    for path in blocks:
        with pa.memory_map(str(path)) as mapped:
            file = pa.ipc.open_file(mapped)
            counts = json.loads(file.schema.metadata[_COUNTS])
            kept.append(np.ones(file.get_batch(0).num_rows, dtype=bool))
        for split, number in counts["read"].items():
            tally.read(pair, split, number=number)
        for split, reasons in counts["dropped"].items():
            for reason, number in reasons.items():
                tally.drop(pair, split, reason, number=number)
    return CleanedPair(pair, tuple(given), tuple(blocks), tuple(kept))


def columns(path: Path, *names: str) -> list[np.ndarray]:
    """Number columns of a block as arrays of their own; no other column is read."""
    with pa.memory_map(str(path)) as mapped:
        batch = pa.ipc.open_file(mapped).get_batch(0)
        return [batch.column(name).to_numpy().copy() for name in names]


def texts(path: Path, rows: np.ndarray) -> tuple[list[str], list[str]]:
    """Sources and targets of the rows that a bool array marks."""
    with pa.memory_map(str(path)) as mapped:
        batch = pa.ipc.open_file(mapped).get_batch(0).filter(pa.array(rows))
        return batch.column("source").to_pylist(), batch.column("target").to_pylist()


def clean_block(block: RawBlock) -> None:
    """Clean, deal and hash the rows of a block, and write it whole."""
    languages = block.settings.language_table()
    sides = languages[block.pair.source], languages[block.pair.target]
    cleaner = _cleaner(block.settings.cleaning, *sides)
    dealer = HashSplit(block.settings.split, given=block.splits)
    side = deciding_side(block.pair, block.settings.pivot)
    dealt = block.given == "train"
    read: Counter[str] = Counter()
    dropped: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    kept: list[tuple[Any, ...]] = []
    for row in block.rows:
        cleaned = cleaner(*row) if dealt else _untouched(*row)
        keys = pair_keys(cleaned.source, cleaned.target)
        split = dealer.split(keys[side]) if dealt else block.given
        read[split] += 1
        if cleaned.reason is not None:
            dropped[split][cleaned.reason] += 1
            continue
        mark = digest(normalise(cleaned.source), normalise(cleaned.target))
        hashes = (*map(number_of, keys), number_of(mark))
        place = dealer.place(keys[side])
        kept.append((cleaned.source, cleaned.target, SPLITS.index(split), *hashes, place))
    _write(block.path, kept, {"read": read, "dropped": dropped})


@cache
def _cleaner(settings: CleaningSettings, source: Language, target: Language) -> Cleaner:
    return Cleaner(settings, source, target)


def _untouched(source: str, target: str) -> Cleaned:
    """What valid and test that the source gives go through: benchmarks stay as they are."""
    has_text = source.strip() and target.strip()
    return Cleaned(source, target, None if has_text else "empty")


def number_of(key: bytes) -> int:
    """The first 64 bits: among 60 million texts, two share them with a chance of 1 in 10,000."""
    return int.from_bytes(key[:8], "little")


def _raw_blocks(
    source: ParallelSource, settings: CorpusSettings, folder: Path
) -> Iterator[RawBlock]:
    for pair in settings.parsed_pairs:
        splits = source.splits(pair)
        for split in splits:
            if _done(folder, pair, split).is_file():
                continue
            for number, rows in enumerate(_in_blocks(source.read(pair, split))):
                path = folder / str(pair) / f"{split}.{number:06d}.arrow"
                if not path.is_file():
                    yield RawBlock(pair, split, rows, settings, splits, path)


def _in_blocks(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Rows cut into blocks within both limits; a row above the limit of bytes is a block."""
    block: list[tuple[str, str]] = []
    taken = 0
    for row in rows:
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in row)
        if block and (len(block) == BLOCK_ROWS or taken + size > BLOCK_BYTES):
            yield tuple(block)
            block, taken = [], 0
        block.append(row)
        taken += size
    if block:
        yield tuple(block)


def _done(folder: Path, pair: Direction, split: str) -> Path:
    """A note that all blocks of a split are there, so that the source need not be read again."""
    return folder / str(pair) / f"{split}.done"


def _write(path: Path, rows: Sequence[tuple[Any, ...]], counts: dict[str, Any]) -> None:
    schema = _SCHEMA.with_metadata({_COUNTS: json.dumps(counts)})
    columns = list(zip(*rows, strict=True)) if rows else [() for _ in _SCHEMA]
    arrays = [pa.array(c, type=t) for c, t in zip(columns, _SCHEMA.types, strict=True)]
    batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
    with (
        replace_file(path) as part,
        pa.OSFile(str(part), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(batch)
