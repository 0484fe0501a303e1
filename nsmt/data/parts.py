"""Parts of a batch: some of its sentences as a batch of their own, and one part a direction.

For what cannot hold several directions in one pass, as weights that each direction has of its own.
A part is of the batch's layout, without its padding sentences, and belongs to the same update.

Shape suffixes: as in `batch`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from nsmt.data.batch import BatchLayout, Spans


def part_of(batch: BatchLayout, sentences_C: Tensor) -> BatchLayout:
    """The batch of some sentences (their numbers in it, in the order wanted).

    `update_tokens` stays that of the whole update. Waits for the batch's device, which alone knows
    how long the sentences are.
    """
    source, target = batch.source_spans, batch.target_spans
    if source is None or target is None:
        return _padded(batch, sentences_C)
    source_at, source = _taken(source, sentences_C)
    target_at, target = _taken(target, sentences_C)
    found = replace(
        batch,
        source_BS=batch.source_BS[:, source_at],
        source_real_BS=batch.source_real_BS[:, source_at],
        target_in_BT=batch.target_in_BT[:, target_at],
        target_out_BT=batch.target_out_BT[:, target_at],
        target_real_BT=batch.target_real_BT[:, target_at],
        source_spans=source,
        target_spans=target,
    )
    return _of_own(found, batch.direction_C[sentences_C])


def by_direction(batch: BatchLayout) -> Iterator[tuple[int, BatchLayout]]:
    """Each direction's row in the run's list and the part of its sentences, by rising rows.

    A batch of one direction is its own only part, and keeps its shape; only a batch that mixes
    directions waits for its device. A batch that does not know its `rows` is a ValueError.
    """
    directions = sorted(set(batch.rows))
    if not directions:
        raise ValueError("a batch without rows has no parts")
    if len(directions) == 1:
        yield directions[0], batch
        return
    for row in directions:
        members = [place for place, own in enumerate(batch.rows) if own == row]
        yield row, part_of(batch, torch.tensor(members, device=batch.direction_C.device))


def _padded(batch: BatchLayout, sentences_C: Tensor) -> BatchLayout:
    """Rows, as long as the longest of them."""
    source_real, target_real = batch.source_real_BS[sentences_C], batch.target_real_BT[sentences_C]
    source_end, target_end = (int(real.sum(1).max()) for real in (source_real, target_real))
    found = replace(
        batch,
        source_BS=batch.source_BS[sentences_C, :source_end],
        source_real_BS=source_real[:, :source_end],
        target_in_BT=batch.target_in_BT[sentences_C, :target_end],
        target_out_BT=batch.target_out_BT[sentences_C, :target_end],
        target_real_BT=target_real[:, :target_end],
    )
    return _of_own(found, batch.direction_C[sentences_C])


def _taken(spans: Spans, sentences_C: Tensor) -> tuple[Tensor, Spans]:
    """The positions of some sentences, one after the other, and their spans."""
    length_C = spans.start_C1.diff()[sentences_C]
    start_C1 = torch.nn.functional.pad(length_C.cumsum(0), (1, 0))
    sentence_Q = torch.repeat_interleave(length_C.long())
    place_Q = torch.arange(len(sentence_Q), device=sentence_Q.device) - start_C1[sentence_Q]
    position_Q = spans.start_C1[sentences_C].long()[sentence_Q] + place_Q
    found = replace(
        spans,
        start_C1=start_C1.to(spans.start_C1.dtype),
        sentence_Q=sentence_Q,
        place_Q=place_Q,
        longest=int(length_C.max()),
    )
    return position_Q, found


def _of_own(batch: BatchLayout, direction_C: Tensor) -> BatchLayout:
    return replace(
        batch,
        counted_N=batch.target_real_BT.flatten().nonzero()[:, 0],
        direction_C=direction_C,
        rows=tuple(direction_C.tolist()),
        flat=None,
    )
