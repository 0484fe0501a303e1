"""One batch of sentence pairs, which may mix directions, in the layouts that the model reads.

Sequences follow the fairseq convention of the papers: source `[source tag] pieces </s>`, decoder
input `</s> [target tag] pieces`, target `[target tag] pieces </s>`. The target tag is predicted and
counted like any other token while training, and forced when decoding.

Padded: a row holds a sentence, with padding to its right. Packed: one row holds all sentences one
after the other, with padding behind the last; every batch has the same number of positions, so
that a GPU sees one shape only.

Shape suffixes: B rows, S source positions, T target positions, C sentences (B of them if padded),
Q positions of either side, N target tokens that count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from nsmt.data.packing import Room, bound_of
from nsmt.languages import Direction

if TYPE_CHECKING:
    from nsmt.data.plan import Position


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the sentences of one side of a packed batch lie.

    Sentence c takes the positions from `start_C1[c]` (int32) to `start_C1[c + 1]`; padding behind
    the last sentence is read as further ones. `sentence_Q` and `place_Q` give, for every position,
    its sentence and the place in it (0 for padding). `longest` is the length of the longest
    sentence; none, padding included, is longer than `bound`, see `Room`.
    """

    start_C1: Tensor
    sentence_Q: Tensor
    place_Q: Tensor
    longest: int
    bound: int


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """A padded batch, or a packed one if it has spans.

    `direction_C` holds rows of the run's list of directions. `counted_N` are the positions, in the
    flattened target, of all real tokens: known without asking the device. `update_tokens` is the
    number of target tokens of the whole update over all its batches and ranks: the one denominator
    of the loss (design contract 6).
    """

    source_BS: Tensor
    source_real_BS: Tensor
    target_in_BT: Tensor
    target_out_BT: Tensor
    target_real_BT: Tensor
    counted_N: Tensor
    direction_C: Tensor
    update_tokens: int
    source_spans: Spans | None = None
    target_spans: Spans | None = None
    # The place of its update in the plan, if it is part of one.
    position: Position | None = None
    # All tensors in one stretch of bytes, if they were moved.
    flat: Tensor | None = None
    # The directions of real sentences, known without asking the device.
    rows: tuple[int, ...] = ()

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> BatchLayout:
        """The same batch on another device, moved in one transfer."""
        return _rebuilt(self, lambda flat: flat.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> BatchLayout:
        """The same batch in memory that a GPU can read by itself; DataLoader calls this."""
        return _rebuilt(self, Tensor.pin_memory)

    def counted(self, values_BT: Tensor) -> Tensor:
        """What `values_BT` (or [B, T, …]) holds at the target tokens that count: [N, …]."""
        return values_BT.flatten(0, 1).index_select(0, self.counted_N)

    @property
    def source_direction(self) -> Tensor:
        """The direction of every source position: [B, 1] if padded, [1, Q] if packed."""
        return _by_position(self.direction_C, self.source_spans)

    @property
    def target_direction(self) -> Tensor:
        """The direction of every target position: [B, 1] if padded, [1, Q] if packed."""
        return _by_position(self.direction_C, self.target_spans)

    def __len__(self) -> int:
        return len(self.direction_C)


@dataclass(frozen=True, slots=True)
class SequenceFormat:
    """The special tokens that frame a sentence: padding, end, and each language's tag."""

    pad: int
    eos: int
    tags: dict[str, int]

    def source(self, pieces: np.ndarray, language: str) -> np.ndarray:
        """`[tag] pieces </s>`."""
        return np.concatenate(([self.tags[language]], pieces, [self.eos]))

    def collate(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        directions: Sequence[Direction],
        *,
        rows: Sequence[int],
        update_tokens: int | None = None,
        round_to: int = 1,
    ) -> BatchLayout:
        """Frame and pad pieces; `rows` are the directions' rows in the run's list.

        Without `update_tokens`, the batch is an update of its own. Lengths are rounded up to a
        multiple of `round_to`.
        """
        source, target = (
            self._pad(side, round_to=round_to)
            for side in self._framed(sources, targets, directions)
        )
        return self._layout(source, target, rows=rows, update_tokens=update_tokens)

    def pack(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        directions: Sequence[Direction],
        *,
        rows: Sequence[int],
        room: Room,
        update_tokens: int | None = None,
    ) -> BatchLayout:
        """Frame pieces and put them one after the other into `room`; see `collate`.

        Sentences that do not fit are a ValueError.
        """
        sides = self._framed(sources, targets, directions)
        longest = max(len(sequence) for side in sides for sequence in side)
        bound = room.bound or bound_of(longest)
        if longest > bound:
            raise ValueError(f"a sentence of {longest} tokens is longer than the bound, {bound}")
        free = [size - sum(map(len, side)) for side, size in zip(sides, room.sizes, strict=True)]
        if min(free) < 0:
            raise ValueError(f"sentences do not fit into a packed batch: {-min(free)} too many")
        # Padding is read as sentences too, none longer than the bound.
        slots = _rung(len(rows) + -(-max(free) // bound))
        flat = [
            np.concatenate([*side, np.full(rest, self.pad)])[None]
            for side, rest in zip(sides, free, strict=True)
        ]
        spans = [
            _spans([len(sequence) for sequence in side], size, slots=slots, bound=bound)
            for side, size in zip(sides, room.sizes, strict=True)
        ]
        # Padding takes the masks of direction 0; nothing that comes out there counts.
        filled = [*rows, *[0] * (slots - len(rows))]
        layout = self._layout(*flat, rows=filled, update_tokens=update_tokens)
        return replace(layout, source_spans=spans[0], target_spans=spans[1], rows=tuple(rows))

    def _framed(
        self,
        sources: Sequence[np.ndarray],
        targets: Sequence[np.ndarray],
        directions: Sequence[Direction],
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        pairs = list(zip(sources, targets, directions, strict=True))
        return (
            [self.source(source, direction.source) for source, _, direction in pairs],
            [self.source(target, direction.target) for _, target, direction in pairs],
        )

    def _layout(
        self,
        source_BS: np.ndarray,
        target_BT: np.ndarray,
        *,
        rows: Sequence[int],
        update_tokens: int | None,
    ) -> BatchLayout:
        real_BT = target_BT != self.pad
        # The input is the target one place later. What comes before a sentence is the </s> of
        # the one packed before it, or has to be made one.
        target_in_BT = np.where(real_BT, np.roll(target_BT, 1, axis=1), self.pad)
        target_in_BT[:, 0] = self.eos
        counted_N = np.flatnonzero(real_BT)
        return BatchLayout(
            source_BS=torch.from_numpy(source_BS),
            source_real_BS=torch.from_numpy(source_BS != self.pad),
            target_in_BT=torch.from_numpy(target_in_BT),
            target_out_BT=torch.from_numpy(target_BT),
            target_real_BT=torch.from_numpy(real_BT),
            counted_N=torch.from_numpy(counted_N),
            direction_C=torch.tensor(rows, dtype=torch.int64),
            update_tokens=update_tokens or len(counted_N),
            rows=tuple(rows),
        )

    def _pad(self, sequences: Sequence[np.ndarray], *, round_to: int) -> np.ndarray:
        longest = -(-max(len(sequence) for sequence in sequences) // round_to) * round_to
        padded = np.full((len(sequences), longest), self.pad, dtype=np.int64)
        for row, sequence in enumerate(sequences):
            padded[row, : len(sequence)] = sequence
        return padded


_Holder = TypeVar("_Holder", BatchLayout, Spans)


def _spans(lengths: Sequence[int], size: int, *, slots: int, bound: int) -> Spans:
    """The spans of sentences of these lengths, then of padding, among `slots` in `size`."""
    real = sum(lengths)
    filled = [*lengths, *[bound] * ((size - real) // bound), (size - real) % bound]
    length_C = np.array([*filled, *[0] * slots][:slots])
    start_C1 = np.concatenate(([0], np.cumsum(length_C)))
    sentence_Q = np.repeat(np.arange(slots), length_C)
    place_Q = np.arange(size) - start_C1[sentence_Q]
    place_Q[real:] = 0
    return Spans(
        start_C1=torch.from_numpy(start_C1.astype(np.int32)),
        sentence_Q=torch.from_numpy(sentence_Q),
        place_Q=torch.from_numpy(place_Q),
        longest=max(lengths),
        bound=bound,
    )


def _rung(number: int) -> int:
    """The next of a short ladder of sizes, four to a doubling: few shapes for a compiler."""
    step = max(8, bound_of(number) // 8)
    return -(-number // step) * step


def _by_position(direction_C: Tensor, spans: Spans | None) -> Tensor:
    return direction_C[:, None] if spans is None else direction_C[spans.sentence_Q][None]


def _rebuilt(batch: BatchLayout, move: Callable[[Tensor], Tensor]) -> BatchLayout:
    """The batch with its tensors moved together, as one stretch of bytes."""
    tensors = list(_tensors(batch))
    sizes = [each.numel() * each.element_size() for each in tensors]
    # Every tensor begins where any type may.
    rooms = [-(-size // 16) * 16 for size in sizes]
    flat = batch.flat
    if flat is None:
        flat = torch.zeros(sum(rooms), dtype=torch.uint8)
        for part, size, each in zip(torch.split(flat, rooms), sizes, tensors, strict=True):
            part[:size] = each.contiguous().view(-1).view(torch.uint8)
    moved = move(flat)
    parts = zip(torch.split(moved, rooms), sizes, tensors, strict=True)
    views = (part[:size].view(like.dtype).view(like.shape) for part, size, like in parts)
    return replace(_with(batch, views), flat=moved)


def _tensors(holder: BatchLayout | Spans) -> Iterator[Tensor]:
    for each in fields(holder):
        value = getattr(holder, each.name)
        if each.name == "flat":
            continue
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Spans):
            yield from _tensors(value)


def _with(holder: _Holder, tensors: Iterator[Tensor]) -> _Holder:
    """The same with other tensors, in the order of `_tensors`."""
    changed: dict[str, Any] = {}
    for each in fields(holder):
        value = getattr(holder, each.name)
        if each.name == "flat":
            continue
        if isinstance(value, Tensor):
            changed[each.name] = next(tensors)
        elif isinstance(value, Spans):
            changed[each.name] = _with(value, tensors)
    return replace(holder, **changed)
