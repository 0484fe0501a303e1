import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.packing import Room, packed, padded, split_to_multiple

ROOM = Room(source=40, target=50)
pairs_of_lengths = st.lists(st.tuples(st.integers(2, 40), st.integers(2, 50)), max_size=80)


def sides(lengths):
    return np.array(lengths, dtype=np.int64).reshape(-1, 2).T


def positions(batches):
    return sorted(place for batch in batches for place in batch.tolist())


def real_lengths(count, *, mean, spread):
    """Lengths like those of real text: log-normal, the sides related."""
    rng = np.random.default_rng(0)
    common = rng.normal(np.log(mean), spread, count)
    return [
        np.clip(np.exp(common + rng.normal(shift, 0.2, count)), 3, 256).astype(np.int64)
        for shift in (0.0, 0.15)
    ]


@settings(max_examples=200, deadline=None)
@given(pairs_of_lengths)
def test_packed_batches_hold_every_sentence_once_within_the_room(lengths):
    source, target = sides(lengths)
    batches = packed(source, target, room=ROOM)
    assert positions(batches) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch)
        assert source[batch].sum() <= ROOM.source
        assert target[batch].sum() <= ROOM.target


@settings(max_examples=100, deadline=None)
@given(pairs_of_lengths, st.integers(1, 9))
def test_packed_batches_come_in_multiples_where_there_are_sentences_enough(lengths, multiple):
    source, target = sides(lengths)
    batches = packed(source, target, room=ROOM, multiple=multiple)
    assert positions(batches) == list(range(len(lengths)))
    fewest = len(packed(source, target, room=ROOM))
    if len(lengths) >= fewest + multiple:
        assert len(batches) % multiple == 0
    for batch in batches:
        assert len(batch)
        assert source[batch].sum() <= ROOM.source
        assert target[batch].sum() <= ROOM.target


@pytest.mark.parametrize("multiple", [8, 32])
def test_many_batches_an_update_cost_no_slots_but_those_of_the_last_update(multiple):
    source, target = real_lengths(60_000, mean=27, spread=0.5)
    room = Room.of(4096, source_share=source.mean(), target_share=target.mean())
    alone = len(packed(source, target, room=room))
    assert len(packed(source, target, room=room, multiple=multiple)) < alone + multiple


def test_packing_is_deterministic_and_no_sentences_make_no_batch():
    source, target = real_lengths(500, mean=20, spread=0.6)
    room = Room(600, 700)
    first, second = (packed(source, target, room=room) for _ in range(2))
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in second]
    assert packed(source[:0], target[:0], room=room) == []


@pytest.mark.parametrize("tokens", [1024, 2048, 4096, 30720])
@pytest.mark.parametrize(("mean", "spread"), [(8, 1.0), (27, 0.5)], ids=["labels", "verses"])
def test_at_least_97_of_100_slots_of_packed_batches_are_filled(tokens, mean, spread):
    source, target = real_lengths(40_000, mean=mean, spread=spread)
    room = Room.of(tokens, source_share=source.mean(), target_share=target.mean())
    batches = packed(source, target, room=room)
    slots = len(batches) * (room.source + room.target)
    # The room of the last batch counts too: with ever larger batches it is ever more of the whole.
    last = room.source + room.target
    assert (source.sum() + target.sum()) / (slots - last) >= 0.97


@pytest.mark.parametrize(("source", "target"), [(41, 2), (2, 51)])
def test_a_sentence_longer_than_the_room_is_refused(source, target):
    with pytest.raises(ValueError, match="longer than a packed batch"):
        packed(np.array([3, source]), np.array([3, target]), room=ROOM)


def test_the_room_is_in_proportion_to_the_sides():
    assert Room.of(1000, source_share=20.0, target_share=25.0) == Room(source=800, target=1000)
    assert Room.of(1000, source_share=3.0, target_share=1.0) == Room(source=1000, target=333)


@settings(max_examples=200, deadline=None)
@given(pairs_of_lengths, st.integers(50, 400))
def test_padded_batches_hold_every_sentence_once_within_the_limit(lengths, limit):
    source, target = sides(lengths)
    batches = padded(source, target, limit=limit, tie_break=np.arange(len(lengths)))
    assert positions(batches) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) * max(source[batch].max(), target[batch].max()) <= limit


@settings(max_examples=200, deadline=None)
@given(pairs_of_lengths, st.integers(1, 9))
def test_splitting_keeps_every_sentence_and_reaches_the_multiple(lengths, multiple):
    batches = packed(*sides(lengths), room=ROOM)
    found = split_to_multiple(batches, multiple)
    assert positions(found) == list(range(len(lengths)))
    assert all(len(batch) for batch in found)
    if len(lengths) >= len(batches) + -len(batches) % multiple:
        assert len(found) % multiple == 0
    else:
        assert found is batches
