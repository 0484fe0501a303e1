"""The global batch plan: which sentences form update n.

It depends on the seed, the epoch and the corpus alone, never on how many ranks, workers or restarts
there were (design contract 5). An update is a fixed number of micro-batches; ranks and accumulation
share these out, so that 1 x N, N x 1 and accumulation take the same step.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from nsmt.data.corpus import TokenTable
from nsmt.data.sampling import draws, exact_counts, proportions
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction
from nsmt.settings import Settings

# The tag and </s> that frame every sentence.
_FRAME = 2


class BatchSettings(Settings):
    """How large batches are, and how many make an update."""

    tokens: Annotated[int, Field(ge=8)] = Field(
        4096, description="sentences x longest side, at most, in one micro-batch"
    )
    per_update: Annotated[int, Field(ge=1)] = Field(
        1, description="micro-batches of one update, over all ranks and accumulation"
    )


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Sentences of one micro-batch: parallel arrays of direction rows and table rows."""

    direction: np.ndarray
    row: np.ndarray


@dataclass(frozen=True, slots=True)
class Update:
    """The micro-batches of one update and the number of target tokens they hold together."""

    epoch: int
    index: int
    batches: tuple[PlannedBatch, ...]
    target_tokens: int


class TrainingPlan:
    """The endless sequence of updates of one training stage."""

    def __init__(
        self,
        tables: Mapping[Direction, TokenTable],
        *,
        batch: BatchSettings,
        temperature: float,
        seed: int,
    ) -> None:
        self.directions = list(tables)
        self.batch = batch
        self.seed = seed
        self._sizes = np.array([len(table) for table in tables.values()])
        self._counts = exact_counts(
            proportions(self._sizes, temperature=temperature), int(self._sizes.sum())
        )
        self._source = [np.asarray(table.source_lengths) + _FRAME for table in tables.values()]
        self._target = [np.asarray(table.target_lengths) + _FRAME for table in tables.values()]

    def epoch(self, epoch: int) -> list[Update]:
        """All updates of one epoch; what does not fill the last update is left out."""
        direction, row = self._drawn(epoch)
        source, target = self._lengths(direction, row)
        rng = np.random.default_rng((self.seed, epoch))
        # Ties between equal lengths are broken at random, so that batches mix directions.
        order = np.lexsort((rng.random(len(row)), source, target))
        cuts = _cut(source[order], target[order], limit=self.batch.tokens)
        batches = [order[start:end] for start, end in itertools.pairwise(cuts)]
        shuffled = [batches[place] for place in rng.permutation(len(batches))]
        per_update = self.batch.per_update
        if len(shuffled) < per_update:
            raise ConfigurationError(
                f"an epoch has {len(shuffled)} micro-batches, fewer than batch.per_update",
                fix=f"set batch.per_update to {len(shuffled)} or less, or lower batch.tokens",
            )
        updates = []
        for index in range(len(shuffled) // per_update):
            members = shuffled[index * per_update : (index + 1) * per_update]
            updates.append(
                Update(
                    epoch,
                    index,
                    tuple(PlannedBatch(direction[each], row[each]) for each in members),
                    # The end of the sentence and the tag are target tokens.
                    sum(int(target[each].sum()) for each in members),
                )
            )
        return updates

    def updates(self, *, epoch: int = 0, index: int = 0) -> Iterator[Update]:
        """Updates without end, from a position (epoch, index of the update in it) on."""
        while True:
            yield from self.epoch(epoch)[index:]
            epoch, index = epoch + 1, 0

    def _drawn(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rows = [
            draws(size, epoch * count, count, seed=(self.seed, zlib.crc32(str(direction).encode())))
            for direction, size, count in zip(
                self.directions, self._sizes.tolist(), self._counts.tolist(), strict=True
            )
        ]
        direction = np.repeat(np.arange(len(rows)), self._counts)
        return direction, np.concatenate(rows)

    def _lengths(self, direction: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        source, target = np.empty_like(row), np.empty_like(row)
        for place in range(len(self.directions)):
            here = direction == place
            source[here] = self._source[place][row[here]]
            target[here] = self._target[place][row[here]]
        return source, target


def in_order(tables: Mapping[Direction, TokenTable], *, tokens: int) -> list[PlannedBatch]:
    """Every sentence of every direction once, batched by length: for validation and counting."""
    direction = np.repeat(np.arange(len(tables)), [len(table) for table in tables.values()])
    row = np.concatenate([np.arange(len(table)) for table in tables.values()])
    source = np.concatenate([table.source_lengths for table in tables.values()]) + _FRAME
    target = np.concatenate([table.target_lengths for table in tables.values()]) + _FRAME
    order = np.lexsort((row, direction, source, target))
    cuts = _cut(source[order], target[order], limit=tokens)
    return [
        PlannedBatch(direction[order[start:end]], row[order[start:end]])
        for start, end in itertools.pairwise(cuts)
    ]


def _cut(source: np.ndarray, target: np.ndarray, *, limit: int) -> list[int]:
    """Where to cut sorted sentences so that rows x longest side stays within `limit`.

    A sentence longer than the limit forms a batch of its own.
    """
    cuts, longest = [0], 0
    for place, length in enumerate(np.maximum(source, target).tolist()):
        longest = max(longest, length)
        if longest * (place - cuts[-1] + 1) > limit and place > cuts[-1]:
            cuts.append(place)
            longest = length
    # No sentences make no batch, not an empty one.
    return [*cuts, len(source)] if len(source) else cuts
