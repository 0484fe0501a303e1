"""What every source of parallel text offers to preparation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from nsmt.languages import Direction


class ParallelSource(Protocol):
    """Parallel text by pair of languages; reading it twice yields the same pairs in order."""

    def licences(self) -> dict[str, str]:
        """The text and its licence, by language code."""
        ...

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """Decide which inputs there will be, before `identity`; hash those that are files."""
        ...

    def identity(self) -> dict[str, Any]:
        """What, besides the settings, decides the text: contents and versions, as plain JSON.

        Equal text in another folder, or of another date, has an equal identity.
        """
        ...

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Download or check the inputs, idempotently; a DataError before anything is read."""
        ...

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """The splits that the source gives; valid or test that are not are cut from train."""
        ...

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the text in `pair.source` and in `pair.target`, one sentence pair at a time."""
        ...
