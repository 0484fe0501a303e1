"""What preparation read, kept and dropped, by pair, split and reason; no row passes silently."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from nsmt.data.split import SPLITS
from nsmt.languages import Direction


class Tally:
    """Counts that add up: read = kept + dropped, in each pair and split."""

    def __init__(self) -> None:
        self._read: Counter[tuple[str, str]] = Counter()
        self._dropped: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        self._shared: Counter[tuple[str, str]] = Counter()
        self._pieces: dict[tuple[str, str], dict[str, int]] = {}

    def read(self, pair: Direction, split: str, *, number: int = 1) -> None:
        """Count pairs of sentences that the source yielded."""
        self._read[str(pair), split] += number

    def drop(self, pair: Direction, split: str, reason: str, *, number: int = 1) -> None:
        """Count pairs of sentences that were left out."""
        if number:
            self._dropped[str(pair), split][reason] += number

    def share(self, pair: Direction, split: str, *, number: int) -> None:
        """Count pairs of a given valid that a given test has too: both are kept as they are."""
        self._shared[str(pair), split] += number

    def pieces(self, pair: Direction, split: str, by_language: Mapping[str, int]) -> None:
        """Record how many pieces the kept sentences have."""
        self._pieces[str(pair), split] = dict(by_language)

    def main_reasons(self, pair: Direction, split: str) -> str:
        """The three most frequent reasons with their counts, for an error message."""
        common = self._dropped[str(pair), split].most_common(3)
        return ", ".join(f"{reason} {count}" for reason, count in common) or "nothing was read"

    def as_json(self, pair: Direction) -> dict[str, Any]:
        """All counts of a pair, by split."""
        return {split: self._entry(str(pair), split) for split in SPLITS}

    def _entry(self, pair: str, split: str) -> dict[str, Any]:
        dropped = dict(sorted(self._dropped[pair, split].items()))
        read = self._read[pair, split]
        return {
            "read": read,
            "kept": read - sum(dropped.values()),
            "dropped": dropped,
            "shared_with_test": self._shared[pair, split],
            "pieces": self._pieces.get((pair, split), {}),
        }


def report_table(report: Mapping[str, Any]) -> Table:
    """A readable table of a corpus's `report`."""
    table = Table(title=f"corpus {report['name']}")
    for heading in ("pair", "split"):
        table.add_column(heading)
    for heading in ("read", "kept", "pieces a sentence"):
        table.add_column(heading, justify="right")
    table.add_column("dropped")
    for pair, splits in report["pairs"].items():
        for split, entry in splits.items():
            table.add_row(pair, split, *_cells(entry), end_section=split == SPLITS[-1])
    return table


def _cells(entry: Mapping[str, Any]) -> list[str]:
    kept = entry["kept"]
    pieces = (f"{code} {count / max(kept, 1):.1f}" for code, count in entry["pieces"].items())
    dropped = [f"{reason} {count:,}" for reason, count in entry["dropped"].items()]
    if entry["shared_with_test"]:
        dropped.append(f"kept: {entry['shared_with_test']:,} that test has too")
    return [f"{entry['read']:,}", f"{kept:,}", " ".join(pieces), ", ".join(dropped)]
