"""Parts of a batch hold what the batch held, whatever its layout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import sentences_of, sentences_of_packed
from test_batch import collate, pack, pairs, tensors_of

from nsmt.data.batch import BatchLayout
from nsmt.data.packing import Room
from nsmt.data.parts import by_direction, part_of

spares = st.tuples(st.integers(0, 30), st.integers(0, 30))


def laid_out(sentences, spare, *, packed):
    """The batch with tokens of a larger update, and what reads its sentences back."""
    padded = collate(sentences, update_tokens=1000)
    if not packed:
        return padded, sentences_of
    used = padded.source_real_BS.sum().item(), padded.target_real_BT.sum().item()
    room = Room(used[0] + spare[0], used[1] + spare[1])
    return pack(sentences, room, update_tokens=1000), sentences_of_packed


def same_tensors(one, other):
    return all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in zip(tensors_of(one), tensors_of(other), strict=True)
    )


@pytest.mark.parametrize("packed", [False, True])
@settings(max_examples=100, deadline=None)
@given(sentences=pairs, spare=spares)
def test_the_parts_of_a_batch_hold_its_sentences_each_with_its_direction(packed, sentences, spare):
    batch, read = laid_out(sentences, spare, packed=packed)
    assert batch.rows == tuple(row for row, _, _ in sentences)
    found = []
    for row, part in by_direction(batch):
        assert set(part.rows) == {row}
        assert part.update_tokens == batch.update_tokens == 1000
        found += read(part)
    # Sentences of one direction stay in order.
    assert found == sorted(read(batch), key=lambda sentence: sentence[0])
    assert sum(len(part.counted_N) for _, part in by_direction(batch)) == len(batch.counted_N)


@settings(max_examples=100, deadline=None)
@given(pairs, spares, st.data())
def test_a_part_is_the_batch_that_its_sentences_would_make(sentences, spare, data):
    chosen = data.draw(
        st.lists(st.sampled_from(range(len(sentences))), min_size=1, max_size=6, unique=True)
    )
    taken = [sentences[place] for place in chosen]
    part = part_of(laid_out(sentences, spare, packed=False)[0], torch.tensor(chosen))
    expected = collate(taken)
    assert all(
        torch.equal(getattr(part, name), getattr(expected, name))
        for name in BatchLayout.__slots__
        if isinstance(getattr(expected, name), torch.Tensor)
    )
    part = part_of(laid_out(sentences, spare, packed=True)[0], torch.tensor(chosen))
    used = [int(each.sum()) for each in (expected.source_real_BS, expected.target_real_BT)]
    expected = pack(taken, Room(*used))
    count = len(chosen)
    for side in ("source", "target"):
        found, wanted = (getattr(each, f"{side}_spans") for each in (part, expected))
        assert torch.equal(found.start_C1, wanted.start_C1[: count + 1])
        assert torch.equal(found.sentence_Q, wanted.sentence_Q)
        assert torch.equal(found.place_Q, wanted.place_Q)
        assert found.longest == wanted.longest <= found.bound
    for name in ("source_BS", "target_in_BT", "target_out_BT", "target_real_BT", "counted_N"):
        assert torch.equal(getattr(part, name), getattr(expected, name)), name
    assert part.direction_C.tolist() == [row for row, _, _ in taken]


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_of_one_direction_is_its_own_part(packed):
    batch, _ = laid_out([(2, [9, 9], [9]), (2, [8], [8, 8])], (7, 9), packed=packed)
    ((row, part),) = by_direction(batch)
    assert row == 2
    assert part is batch


@pytest.mark.parametrize("packed", [False, True])
def test_parts_of_a_batch_that_was_moved_are_the_same(packed):
    batch, _ = laid_out([(0, [9, 9], [9]), (2, [8], [8, 8])], (7, 9), packed=packed)
    for (row, part), (moved_row, moved) in zip(
        by_direction(batch), by_direction(batch.to("cpu")), strict=True
    ):
        assert row == moved_row
        assert same_tensors(part, moved)
        assert same_tensors(part, part.to("cpu"))


def test_a_batch_that_does_not_know_its_directions_is_refused():
    batch, _ = laid_out([(0, [9], [9])], (0, 0), packed=False)
    unknown = BatchLayout(**{n: getattr(batch, n) for n in BatchLayout.__slots__ if n != "rows"})
    with pytest.raises(ValueError, match="no parts"):
        next(by_direction(unknown))
