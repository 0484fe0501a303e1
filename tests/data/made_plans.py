"""Made-up tables, plans over them, and their batches as plain values to compare."""

import itertools

import numpy as np
from hypothesis import strategies as st

from nsmt.data.batch import SequenceFormat
from nsmt.data.corpus import TokenColumn, TokenTable
from nsmt.data.plan import BatchSettings, Position, TrainingPlan
from nsmt.languages import Direction

SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5, "fr": 6})
NAMES = ("en-de", "de-en", "fr-en")


def column_like(lengths, rng):
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return TokenColumn(rng.integers(7, 90, offsets[-1]).astype(np.uint16), offsets)


def tables_like(sizes, seed=0, longest=12):
    rng = np.random.default_rng(seed)
    return {
        Direction.parse(name): TokenTable(
            column_like(rng.integers(1, longest + 1, size), rng),
            column_like(rng.integers(1, longest + 1, size), rng),
        )
        for name, size in zip(NAMES, sizes, strict=False)
    }


def plan_like(tables, *, tokens=64, per_update=4, temperature=1.0, seed=3, curriculum=(), **batch):
    batch = {"layout": "padded"} | batch
    return TrainingPlan(
        tables,
        batch=BatchSettings(tokens=tokens, per_update=per_update, **batch),
        temperature=temperature,
        seed=seed,
        curriculum=curriculum,
    )


def epoch_of(plan, epoch):
    """The updates of an epoch, whatever came before it."""
    start = Position(epoch=epoch)
    return list(itertools.takewhile(lambda u: u.position.epoch == epoch, plan.updates(start)))


def longest_side(tables, planned):
    own = list(tables.values())
    return max(
        max(len(own[direction].source(row)), len(own[direction].target(row))) + 2
        for direction, row in zip(planned.direction, planned.row, strict=True)
    )


def sentences_of(batch):
    return [
        (row, tuple(source), tuple(target))
        for row, source, target in zip(
            batch.direction_C.tolist(),
            [s[r].tolist() for s, r in zip(batch.source_BS, batch.source_real_BS, strict=True)],
            [t[r].tolist() for t, r in zip(batch.target_out_BT, batch.target_real_BT, strict=True)],
            strict=True,
        )
    ]


def sentences_of_packed(batch):
    source, target = batch.source_spans.start_C1.tolist(), batch.target_spans.start_C1.tolist()
    real = int(batch.target_spans.sentence_Q[batch.target_real_BT[0]].max()) + 1
    return [
        (
            row,
            tuple(batch.source_BS[0, source[c] : source[c + 1]].tolist()),
            tuple(batch.target_out_BT[0, target[c] : target[c + 1]].tolist()),
        )
        for c, row in enumerate(batch.direction_C.tolist()[:real])
    ]


plans = st.tuples(
    st.lists(st.integers(5, 60), min_size=1, max_size=3),
    st.sampled_from([14, 40, 100, 1000]),
    st.sampled_from([1.0, 2.0, 5.0]),
    st.integers(0, 1000),
)
