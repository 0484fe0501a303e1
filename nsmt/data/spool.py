"""Cleaned text on its way into the corpus: train on disk, the small held-out sets in memory.

Cleaning runs once over the source. Training text is spooled to a temporary Arrow file together
with its recognition keys, so that the later passes (drop what is held out, sample for the
vocabulary, encode) neither clean nor hash again, and memory stays at some 150 bytes a sentence of
the largest pair: the hashes against duplicates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from nsmt.data.cleaning import Cleaned, Cleaner
from nsmt.data.settings import CorpusSettings
from nsmt.data.sources import ParallelSource
from nsmt.data.split import HashSplit, HeldOut, deciding_side, pair_keys
from nsmt.data.tally import Tally
from nsmt.data.text import digest
from nsmt.languages import Direction

_BATCH = 20_000
_SCHEMA = pa.schema(
    {
        "source": pa.large_string(),
        "target": pa.large_string(),
        "source_key": pa.binary(16),
        "target_key": pa.binary(16),
    }
)


class Row(NamedTuple):
    """One cleaned pair with its recognition keys and its place in [0, 1)."""

    source: str
    target: str
    keys: tuple[bytes, bytes]
    place: float


@dataclass
class SpooledPair:
    """The cleaned text of one pair; `kept` marks the rows of train that are not held out.

    `given` are the splits that the source gave, rather than cut from its train.
    """

    pair: Direction
    path: Path
    given: tuple[str, ...] = ("train",)
    held: dict[str, list[Row]] = field(default_factory=dict)
    kept: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def train_texts(self) -> Iterator[tuple[list[str], list[str]]]:
        """The kept sources and targets of train, batch by batch."""
        first = 0
        for batch in _batches(self.path):
            rows = pa.array(self.kept[first : first + len(batch)])
            first += len(batch)
            kept = batch.filter(rows)
            yield kept.column("source").to_pylist(), kept.column("target").to_pylist()

    def mark(self, held_out: HeldOut, tally: Tally) -> None:
        """Set `kept`, and count what `held_out` covers."""
        covered = [
            held_out.covers(self.pair, keys)
            for batch in _batches(self.path)
            for keys in zip(
                batch.column("source_key").to_pylist(),
                batch.column("target_key").to_pylist(),
                strict=True,
            )
        ]
        self.kept = ~np.array(covered, dtype=bool)
        if dropped := int(sum(covered)):
            tally.drop(self.pair, "train", "held_out", number=dropped)


def spool_pair(
    source: ParallelSource, pair: Direction, settings: CorpusSettings, *, path: Path, tally: Tally
) -> SpooledPair:
    """Read, clean, split and deduplicate one pair; train goes to `path`."""
    spooled = SpooledPair(pair, path, source.splits(pair), held={"valid": [], "test": []})
    seen: set[bytes] = set()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        waiting: list[Row] = []
        for split, row in _clean(source, pair, settings, tally=tally, seen=seen):
            if split != "train":
                spooled.held[split].append(row)
                continue
            waiting.append(row)
            if len(waiting) == _BATCH:
                writer.write_batch(_as_batch(waiting))
                waiting.clear()
        writer.write_batch(_as_batch(waiting))
    return spooled


def cap_held_out(spooled: SpooledPair, settings: CorpusSettings, tally: Tally) -> None:
    """Keep the sentences of lowest hash, in file order; the rest is dropped, never trained on."""
    limits = {"valid": settings.split.max_valid, "test": settings.split.max_test}
    for split, limit in limits.items():
        rows = spooled.held[split]
        if limit is None or len(rows) <= limit:
            continue
        lowest = sorted(range(len(rows)), key=lambda index: rows[index].place)[:limit]
        tally.drop(spooled.pair, split, "held_out_surplus", number=len(rows) - limit)
        spooled.held[split] = [rows[index] for index in sorted(lowest)]


def _clean(
    source: ParallelSource,
    pair: Direction,
    settings: CorpusSettings,
    *,
    tally: Tally,
    seen: set[bytes],
) -> Iterator[tuple[str, Row]]:
    """Yield each kept row with its split.

    Valid and test that the source gives are benchmarks: their text stays as it is, and only pairs
    with an empty side go.
    """
    given = source.splits(pair)
    dealer = HashSplit(settings.split, given=given)
    cleaner = Cleaner(settings.cleaning, pair)
    side = deciding_side(pair, settings.pivot)
    for given_split in given:
        dealt = given_split == "train"
        for texts in source.read(pair, given_split):
            cleaned = cleaner(*texts) if dealt else _untouched(*texts)
            keys = pair_keys(cleaned.source, cleaned.target)
            split = dealer.split(keys[side]) if dealt else given_split
            tally.read(pair, split)
            reason = cleaned.reason
            if reason is None and dealt and settings.cleaning.deduplicate:
                reason = _repeated(cleaned, seen)
            if reason is not None:
                tally.drop(pair, split, reason)
                continue
            yield split, Row(cleaned.source, cleaned.target, keys, dealer.place(keys[side]))


def _untouched(source: str, target: str) -> Cleaned:
    has_text = source.strip() and target.strip()
    return Cleaned(source, target, None if has_text else "empty")


def _repeated(cleaned: Cleaned, seen: set[bytes]) -> str | None:
    mark = digest(cleaned.source, cleaned.target)
    if mark in seen:
        return "duplicate"
    seen.add(mark)
    return None


def _as_batch(rows: list[Row]) -> pa.RecordBatch:
    columns = [
        [row.source for row in rows],
        [row.target for row in rows],
        [row.keys[0] for row in rows],
        [row.keys[1] for row in rows],
    ]
    arrays = [pa.array(c, type=t) for c, t in zip(columns, _SCHEMA.types, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as mapped:
        file = pa.ipc.open_file(mapped)
        for number in range(file.num_record_batches):
            yield file.get_batch(number)
