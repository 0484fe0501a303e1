"""Which sentences a probe looks at: chosen by a hash of the pivot's side, in batches of their own.

As valid and test are parallel over languages wherever the hash of the pivot's text dealt them,
choosing by that hash gives all directions the same text, as far as there is any: what differs
between directions is then the language. The other way round, halves by that hash have no text of
the pivot in common.

Shape suffixes: N sentences of a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus, TokenTable
from nsmt.data.datamodule import TableReader, sequence_format
from nsmt.data.plan import FRAME, PlannedBatch
from nsmt.data.split import deciding_side
from nsmt.data.text import recognition_key
from nsmt.data.vocabulary import Vocabulary
from nsmt.languages import Direction

# 53 bits, the most that a float holds exactly.
_BITS = 53


@dataclass(frozen=True, slots=True)
class Sample:
    """Batches of one direction, of which `tokens` target tokens count in all."""

    batches: tuple[BatchLayout, ...]
    tokens: int


def places(corpus: Corpus, direction: Direction, split: str, *, purpose: str) -> np.ndarray:
    """A number in [0, 1) for each sentence, from the side that decides its split: float64 [N].

    That is the pivot's, or the first of a pair without it; so both ways of a pair have the same
    numbers. Other purposes give others.
    """
    pair = direction if direction in corpus.pairs else direction.reverse
    decides = (pair.source, pair.target)[deciding_side(pair, corpus.pivot)]
    sources, targets = corpus.texts(direction, split)
    lines = sources if direction.source == decides else targets
    # Not as HashSplit.place takes them: finished probes have these.
    person = hashlib.blake2b(purpose.encode(), digest_size=32).digest()
    hashed = [
        hashlib.blake2b(recognition_key(line), digest_size=8, key=person).digest() for line in lines
    ]
    numbers = [int.from_bytes(each) >> (64 - _BITS) for each in hashed]
    return np.array(numbers, dtype=np.float64) / (1 << _BITS)


def samples(
    tables: Mapping[Direction, TokenTable],
    order: Mapping[Direction, np.ndarray],
    vocabulary: Vocabulary,
    *,
    tokens: int,
    positions: int,
    device: torch.device | str = "cpu",
) -> dict[Direction, Sample]:
    """The first sentences of each direction by `order`, a number a sentence.

    All directions have the same number of target tokens (tag and </s> included): `tokens`, or as
    many as the smallest table has. The last sentence is read whole and counts as far as they go.
    Batches have at most `positions` positions a side, unless one sentence has more.
    """
    lengths = {direction: table.target_lengths + FRAME for direction, table in tables.items()}
    budget = min(tokens, *(int(each.sum()) for each in lengths.values()))
    found = {}
    for direction, table in tables.items():
        rows = np.argsort(order[direction], kind="stable")
        ends = np.cumsum(lengths[direction][rows])
        rows = rows[: int(np.searchsorted(ends, budget)) + 1]
        reader = TableReader({direction: table}, sequence_format(vocabulary))
        longest = np.maximum(table.source_lengths, table.target_lengths)[rows] + FRAME
        batches, left = [], budget
        for members in _consecutive(longest, positions):
            planned = PlannedBatch(np.zeros(len(members), dtype=np.int64), rows[members])
            batch = reader.read(planned)
            # Real positions lie row by row, so that the first ones are those of whole sentences.
            batches.append(replace(batch, counted_N=batch.counted_N[:left]).to(device))
            left -= len(batches[-1].counted_N)
        found[direction] = Sample(tuple(batches), budget)
    return found


def _consecutive(lengths: np.ndarray, positions: int) -> Iterator[Sequence[int]]:
    """Stretches of sentences that fit into so many positions when padded to the longest."""
    members: list[int] = []
    longest = 0
    for place, length in enumerate(lengths.tolist()):
        if members and max(longest, length) * (len(members) + 1) > positions:
            yield members
            members, longest = [], 0
        members.append(place)
        longest = max(longest, length)
    if members:
        yield members
