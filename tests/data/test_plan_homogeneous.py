"""Batches of one direction each: the same sentences and shares, for any number of ranks."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import (
    SEQUENCES,
    epoch_of,
    longest_side,
    plan_like,
    plans,
    sentences_of,
    sentences_of_packed,
    tables_like,
)

from nsmt.data.datamodule import PlannedUpdates, TableReader
from nsmt.data.plan import BatchSettings, in_order
from nsmt.data.sampling import exact_counts, proportions
from nsmt.errors import ConfigurationError

LAYOUTS = ("padded", "packed")


def pairs_of(updates):
    return Counter(
        pair
        for update in updates
        for planned in update.batches
        for pair in zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(plans, st.integers(0, 2), st.integers(1, 3))
def test_every_batch_holds_one_direction_and_an_epoch_what_mixed_batches_hold(
    layout, shape, epoch, per_update
):
    sizes, tokens, temperature, seed = shape
    tables = tables_like(sizes, seed)
    options = {"tokens": max(tokens, 40), "temperature": temperature, "seed": seed}
    options |= {"layout": layout, "per_update": per_update}
    try:
        mixed = epoch_of(plan_like(tables, **options), epoch)
    except ConfigurationError:
        return
    updates = epoch_of(plan_like(tables, homogeneous=True, **options), epoch)
    assert {len(update.batches) for update in updates} == {per_update}
    for update in updates:
        for planned in update.batches:
            assert len(set(planned.direction.tolist())) == 1
            if layout == "padded":
                assert len(planned.row) * longest_side(tables, planned) <= max(tokens, 40)
    # A handful of sentences may be too few to make the number of batches a multiple.
    if sum(sizes) >= 12:
        found = pairs_of(updates)
        assert found == pairs_of(mixed)
        share = proportions(np.array(sizes), temperature=temperature)
        drawn = Counter(direction for direction, _ in found.elements())
        expected = exact_counts(share, sum(sizes)).tolist()
        assert [drawn[row] for row in range(len(sizes))] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ranks_and_accumulation_read_the_same_updates(layout):
    tables = tables_like([60, 50, 40])
    plan = plan_like(tables, per_update=4, homogeneous=True, layout=layout)
    reader = TableReader(tables, SEQUENCES)
    found = sentences_of if layout == "padded" else sentences_of_packed
    read = []
    for world in (1, 2, 4):
        ranks = [
            list(
                itertools.islice(
                    PlannedUpdates(plan, reader, rank=rank, world=world), 12 * 4 // world
                )
            )
            for rank in range(world)
        ]
        assert all(len(set(batch.rows)) == 1 for rank in ranks for batch in rank)
        read.append(
            [
                Counter(
                    sentence
                    for rank in ranks
                    for batch in rank[update * 4 // world : (update + 1) * 4 // world]
                    for sentence in found(batch)
                )
                for update in range(12)
            ]
        )
    assert read[0] == read[1] == read[2]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_plan_is_the_same_for_a_seed_and_goes_on_from_any_position(layout):
    tables = tables_like([60, 50, 40])

    def told(seed=3, start=None, count=9):
        plan = plan_like(tables, seed=seed, homogeneous=True, layout=layout)
        updates = itertools.islice(plan.updates(start), count)
        return [
            (each.position, [(b.direction.tolist(), b.row.tolist()) for b in each.batches])
            for each in updates
        ]

    whole = told()
    assert told() == whole
    assert told(seed=4) != whole
    assert told(start=whole[4][0], count=5) == whole[4:]


def test_directions_come_in_random_order_and_updates_mix_them():
    plan = plan_like(tables_like([100, 100, 100]), tokens=40, per_update=8, homogeneous=True)
    updates = epoch_of(plan, 0)
    rows = [{int(each.direction[0]) for each in update.batches} for update in updates]
    assert sum(len(each) > 1 for each in rows) > 0.9 * len(rows)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=3),
    st.sampled_from([8, 40, 500]),
    st.integers(1, 3),
)
def test_validation_reads_every_sentence_once_in_batches_of_one_direction(
    layout, sizes, tokens, multiple
):
    tables = tables_like(sizes)
    batch = BatchSettings(tokens=tokens, layout=layout, homogeneous=True)
    batches = in_order(tables, batch, multiple=multiple)
    seen = Counter(
        pair
        for planned in batches
        for pair in zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
    )
    assert seen == Counter((row, place) for row, size in enumerate(sizes) for place in range(size))
    assert all(len(set(planned.direction.tolist())) == 1 for planned in batches)
    if sum(sizes) >= len(batches) + multiple:
        assert len(batches) % multiple == 0


def test_what_cannot_be_planned_is_told_as_with_mixed_batches():
    long = plan_like(tables_like([30], longest=60), tokens=20, layout="packed", homogeneous=True)
    with pytest.raises(ConfigurationError, match="longer than a packed batch"):
        next(long.updates())
    few = plan_like(tables_like([5]), tokens=1000, per_update=6, homogeneous=True)
    with pytest.raises(ConfigurationError, match="fewer than"):
        next(few.updates())


def test_many_batches_of_several_directions_are_about_as_full_as_mixed_ones():
    tables = tables_like([3000, 2000, 1000])
    counts = [
        sum(
            len(update.batches)
            for update in epoch_of(
                plan_like(tables, tokens=400, per_update=1, layout="packed", homogeneous=alone), 0
            )
        )
        for alone in (False, True)
    ]
    assert counts[1] <= 1.05 * counts[0]
