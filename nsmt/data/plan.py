"""The global batch plan: which sentences form update n.

It depends on the seed, the position and the corpus alone, never on how many ranks, workers or
restarts there were (design contract 5). An update is a fixed number of micro-batches; ranks and
accumulation share these out, so that 1 x N, N x 1 and accumulation take the same step.

An epoch is planned a window of sentences at a time, so that neither memory nor the wait for the
first batch grows with the corpus. In every window each direction has its exact share, and every
sentence that is drawn is in some update.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field

from nsmt.data.corpus import TokenTable
from nsmt.data.packing import Room, bound_of, packed, padded, split_to_multiple
from nsmt.data.sampling import draws, exact_counts, proportions
from nsmt.data.settings import MixSettings
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction
from nsmt.settings import Count, Settings

# The tag and </s> that frame every sentence.
FRAME: Final = 2
# A window holds at least so many sentences, and so many updates as long as it is not too large.
_WINDOW_SENTENCES: Final = 1 << 17
_WINDOW_UPDATES: Final = 50
_LARGEST_WINDOW: Final = 1 << 21


class BatchSettings(Settings):
    """How large batches are, and how many make an update."""

    layout: Literal["auto", "padded", "packed"] = Field(
        "auto",
        description="packed: sentences one after the other, every batch of one size; auto: packed "
        "on a GPU where attention has a kernel for it",
    )
    tokens: Annotated[int, Field(ge=8)] = Field(
        4096, description="positions of one micro-batch's larger side, padding included"
    )
    per_update: Count = Field(
        1, description="micro-batches of one update, over all ranks and accumulation"
    )
    round_to: Count | None = Field(
        None,
        description="lengths of padded batches are rounded up to a multiple of it: fewer shapes; "
        "None: 8 on a GPU, 1 elsewhere",
    )
    homogeneous: bool = Field(
        default=False,
        description="every micro-batch holds one direction, as in the papers' code; updates mix "
        "them as far as they have several micro-batches",
    )

    def on(self, accelerator: str, *, packs: bool = True) -> BatchSettings:
        """These settings with what they leave to the machine decided.

        `packs`: whether the machine, if it is a GPU, is fast on packed batches.
        """
        gpu = accelerator == "gpu"
        chosen: dict[str, object] = {}
        if self.layout == "auto":
            chosen["layout"] = "packed" if gpu and packs else "padded"
        if self.round_to is None:
            chosen["round_to"] = 8 if gpu else 1
        return self.model_copy(update=chosen)


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Sentences of one micro-batch: parallel arrays of direction rows and table rows.

    With `room` they are to be packed into it, without they are padded to a multiple of `round_to`.
    """

    direction: np.ndarray
    row: np.ndarray
    room: Room | None = None
    round_to: int = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the plan an update is: all that a restart must know.

    `mix` is an entry of the curriculum and `done` counts the updates before this one in it;
    `window` is one of the epoch, `index` the update's place in the window.
    """

    mix: int = 0
    done: int = 0
    epoch: int = 0
    window: int = 0
    index: int = 0

    def following(self) -> Position:
        """The place after this one; a plan goes on from there, into another window if it must."""
        return replace(self, done=self.done + 1, index=self.index + 1)


@dataclass(frozen=True, slots=True)
class Update:
    """The micro-batches of one update and the number of target tokens they hold together."""

    position: Position
    batches: tuple[PlannedBatch, ...]
    target_tokens: int


class TrainingPlan:
    """The endless sequence of updates of one training stage, through all of its curriculum."""

    def __init__(
        self,
        tables: Mapping[Direction, TokenTable],
        *,
        batch: BatchSettings,
        temperature: float,
        seed: int,
        curriculum: Sequence[MixSettings] = (),
    ) -> None:
        self.directions = list(tables)
        self._tables = list(tables.values())
        self._curriculum = tuple(curriculum) or (MixSettings(),)
        # One for the whole curriculum.
        bound = _bound(self._tables, batch)
        self._mixes = [
            Mix(tables, mix, batch=batch, temperature=temperature, seed=(seed, number), bound=bound)
            for number, mix in enumerate(self._curriculum)
        ]

    def largest(self) -> PlannedBatch:
        """The batch of the first window that holds the longest sentence."""
        window = self._mixes[0].window(0, 0)
        return max((each for batches, _ in window for each in batches), key=self._longest)

    def _longest(self, batch: PlannedBatch) -> int:
        of_direction = {
            int(place): batch.row[batch.direction == place] for place in np.unique(batch.direction)
        }
        return max(
            int(side.lengths(rows).max())
            for place, rows in of_direction.items()
            for side in (self._tables[place].sources, self._tables[place].targets)
        )

    def updates(self, start: Position | None = None) -> Iterator[Update]:
        """Updates without end, from a position on."""
        position = start or Position()
        while True:
            mix, length = self._mixes[position.mix], self._curriculum[position.mix].updates
            planned = mix.window(position.epoch, position.window)
            before = position.done - position.index
            stop = len(planned) if length is None else min(len(planned), length - before)
            for index in range(position.index, stop):
                batches, tokens = planned[index]
                where = Position(
                    position.mix, before + index, position.epoch, position.window, index
                )
                yield Update(where, batches, tokens)
            if before + stop == length:
                position = Position(mix=position.mix + 1)
            else:
                epoch, window = mix.after(position.epoch, position.window)
                position = Position(position.mix, before + stop, epoch, window)


class Mix:
    """One entry of a curriculum: what is drawn from which directions, window by window."""

    def __init__(
        self,
        tables: Mapping[Direction, TokenTable],
        mix: MixSettings,
        *,
        batch: BatchSettings,
        temperature: float,
        seed: tuple[int, ...],
        bound: int | None = None,
    ) -> None:
        chosen = {str(d) for d in tables} if mix.directions is None else set(mix.directions)
        self._rows = [row for row, d in enumerate(tables) if str(d) in chosen]
        if not self._rows:
            raise ConfigurationError(
                f"a mix of the curriculum samples {sorted(chosen)}, none of which is trained here",
                fix="name directions that are trained, in data.curriculum",
            )
        self._directions = [list(tables)[row] for row in self._rows]
        self._tables = [tables[direction] for direction in self._directions]
        self._batch = batch
        self._seed = seed
        sizes = np.array([len(table) for table in self._tables])
        self.share = proportions(
            sizes,
            temperature=temperature if mix.temperature is None else mix.temperature,
            weights=np.array([mix.weights.get(str(d), 1.0) for d in self._directions]),
        )
        self.counts = exact_counts(self.share, int(sizes.sum()))
        self.room = room_of(self._tables, self.share, batch, bound=bound)
        self.windows = max(1, round(int(sizes.sum()) / self._window_sentences()))

    def window(self, epoch: int, window: int) -> list[tuple[tuple[PlannedBatch, ...], int]]:
        """The updates of one window: their micro-batches and target tokens."""
        direction, row, source, target = self.drawn(epoch, window)
        rng = np.random.default_rng((*self._seed, epoch, window))
        # Ties between equal lengths are broken at random, so that batches mix directions.
        ties = rng.random(len(row)) if self.room is None else np.arange(len(row))
        per_update = self._batch.per_update
        if self.room is not None:
            self._require_room(source, target, self.room)
        batches = _batched(
            direction, source, target, self._batch, room=self.room, multiple=per_update, ties=ties
        )
        require_updates(len(row), per_update)
        batches = split_to_multiple(batches, per_update)
        shuffled = [batches[place] for place in rng.permutation(len(batches))]
        # Anything is left out only where sentences are too few to be split up further.
        shuffled = shuffled[: len(shuffled) // per_update * per_update]
        updates = []
        for start in range(0, len(shuffled), per_update):
            members = shuffled[start : start + per_update]
            planned = tuple(
                PlannedBatch(direction[each], row[each], self.room, self._batch.round_to or 1)
                for each in members
            )
            # The end of the sentence and the tag are target tokens.
            updates.append((planned, sum(int(target[each].sum()) for each in members)))
        return updates

    def drawn(
        self, epoch: int, window: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The sentences of a window: direction row, table row, and framed length of both sides."""
        parts = []
        for place, table in enumerate(self._tables):
            count = int(self.counts[place])
            first, end = (count * number // self.windows for number in (window, window + 1))
            seed = (*self._seed, zlib.crc32(str(self._directions[place]).encode()))
            rows = draws(len(table), epoch * count + first, end - first, seed=seed)
            lengths = (side.lengths(rows) + FRAME for side in (table.sources, table.targets))
            parts.append((np.full(len(rows), self._rows[place]), rows, *lengths))
        direction, row, source, target = map(np.concatenate, zip(*parts, strict=True))
        return direction, row, source, target

    def _require_room(self, source: np.ndarray, target: np.ndarray, room: Room) -> None:
        longest = max(source.max(), target.max())
        if source.max() > room.source or target.max() > room.target:
            raise ConfigurationError(
                f"a sentence of {longest} tokens is longer than a packed batch, which holds "
                f"{room.source} source and {room.target} target tokens",
                fix="raise batch.tokens, or lower data.cleaning.max_tokens",
            )

    def after(self, epoch: int, window: int) -> tuple[int, int]:
        """The epoch and window that follow."""
        return (epoch, window + 1) if window + 1 < self.windows else (epoch + 1, 0)

    def _window_sentences(self) -> int:
        """Enough sentences for lengths to match, and for an update more or less not to matter."""
        means = [len(table.targets.values) / max(1, len(table)) + FRAME for table in self._tables]
        tokens = _WINDOW_UPDATES * self._batch.per_update * self._batch.tokens
        wanted = int(tokens / float(np.dot(self.share, means)))
        return min(max(_WINDOW_SENTENCES, wanted), _LARGEST_WINDOW)


def require_updates(
    sentences: int, per_update: int, *, of: str = "an epoch", key: str = "batch.per_update"
) -> None:
    """Raise a ConfigurationError unless each micro-batch of an update has a sentence."""
    if sentences < per_update:
        raise ConfigurationError(
            f"{of} has {sentences} sentences, fewer than the {per_update} micro-batches of an "
            "update",
            fix=f"set {key} to {sentences} or less" if sentences else "give it text to train on",
        )


def room_of(
    tables: Sequence[TokenTable],
    share: np.ndarray,
    batch: BatchSettings,
    *,
    bound: int | None = None,
) -> Room | None:
    """The size of packed batches, in proportion to both sides' mean lengths; None if padded."""
    if batch.layout != "packed":
        return None
    means = [
        float(np.dot(share, [len(side.values) / max(1, len(side)) + FRAME for side in sides]))
        for sides in ([table.sources for table in tables], [table.targets for table in tables])
    ]
    return Room.of(batch.tokens, source_share=means[0], target_share=means[1], bound=bound)


def _bound(tables: Sequence[TokenTable], batch: BatchSettings) -> int | None:
    """What no sentence of the tables is longer than; None if padded, which asks for no such."""
    if batch.layout != "packed":
        return None
    # Both directions of a pair have the same columns.
    columns = {id(side): side for table in tables for side in (table.sources, table.targets)}
    return bound_of(max(column.longest() for column in columns.values()) + FRAME)


def in_order(
    tables: Mapping[Direction, TokenTable], batch: BatchSettings, *, multiple: int = 1
) -> list[PlannedBatch]:
    """Every sentence of every direction once, batched by length: for validation and counting.

    The number of batches is a multiple, unless sentences are too few, so that ranks share them
    evenly: under FSDP, one that had more would wait for the others forever.
    """
    sizes = np.array([len(table) for table in tables.values()])
    direction = np.repeat(np.arange(len(tables)), sizes)
    row = np.concatenate([np.arange(size) for size in sizes])
    source = np.concatenate([table.source_lengths for table in tables.values()]) + FRAME
    target = np.concatenate([table.target_lengths for table in tables.values()]) + FRAME
    members = list(tables.values())
    room = room_of(members, sizes / sizes.sum(), batch) if len(row) else None
    if room is not None:
        # Held-out sentences are few, and may be longer on the whole than the room expects.
        longest = int(source.max()), int(target.max())
        room = Room(
            max(room.source, longest[0]), max(room.target, longest[1]), bound_of(max(longest))
        )
    # The order of the tables breaks ties.
    ties = np.arange(len(row))
    batches = _batched(direction, source, target, batch, room=room, multiple=multiple, ties=ties)
    batches = split_to_multiple(batches, multiple)
    return [PlannedBatch(direction[each], row[each], room, batch.round_to or 1) for each in batches]


def _batched(
    direction: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    batch: BatchSettings,
    *,
    room: Room | None,
    multiple: int,
    ties: np.ndarray,
) -> list[np.ndarray]:
    """Positions in the arrays by micro-batch, every position once.

    Packed batches come in the multiple, if sentences are enough; padded ones as they fill up.
    """
    if batch.homogeneous:
        alone = batch.model_copy(update={"homogeneous": False})
        found = [
            members[each]
            for members in (np.flatnonzero(direction == own) for own in np.unique(direction))
            for each in _batched(
                direction[members],
                source[members],
                target[members],
                alone,
                room=room,
                multiple=1,
                ties=ties[members],
            )
        ]
        return found if room is None else split_to_multiple(found, multiple)
    if room is not None:
        return packed(source, target, room=room, multiple=multiple)
    to = batch.round_to or 1
    source, target = (-(-side // to) * to for side in (source, target))
    return padded(source, target, limit=batch.tokens, tie_break=ties)
