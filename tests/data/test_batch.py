import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.batch import SequenceFormat, Spans
from nsmt.data.packing import Room
from nsmt.languages import Direction

PAD, EOS = 0, 2
SEQUENCES = SequenceFormat(pad=PAD, eos=EOS, tags={"en": 4, "de": 5, "fr": 6})
DIRECTIONS = [Direction.parse(text) for text in ("en-de", "de-en", "fr-en")]

pieces = st.lists(st.integers(7, 60_000), max_size=9)
pairs = st.lists(st.tuples(st.integers(0, 2), pieces, pieces), min_size=1, max_size=6)


def collate(sentences, dtype=np.uint16, **more):
    return SEQUENCES.collate(
        [np.array(source, dtype=dtype) for _, source, _ in sentences],
        [np.array(target, dtype=dtype) for _, _, target in sentences],
        [DIRECTIONS[row] for row, _, _ in sentences],
        rows=[row for row, _, _ in sentences],
        **more,
    )


def pack(sentences, room, **more):
    return SEQUENCES.pack(
        [np.array(source, dtype=np.uint16) for _, source, _ in sentences],
        [np.array(target, dtype=np.uint16) for _, _, target in sentences],
        [DIRECTIONS[row] for row, _, _ in sentences],
        rows=[row for row, _, _ in sentences],
        room=room,
        **more,
    )


def padded(sequences):
    longest = max(map(len, sequences))
    return [[*each, *[PAD] * (longest - len(each))] for each in sequences]


def test_a_batch_reads_as_the_papers_frame_it():
    batch = collate([(0, [10, 11, 12], [20]), (2, [13], [21, 22])])
    assert batch.source_BS.tolist() == [[4, 10, 11, 12, EOS], [6, 13, EOS, PAD, PAD]]
    assert batch.target_out_BT.tolist() == [[5, 20, EOS, PAD], [4, 21, 22, EOS]]
    assert batch.target_in_BT.tolist() == [[EOS, 5, 20, PAD], [EOS, 4, 21, 22]]
    assert batch.source_real_BS.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch.target_real_BT.tolist() == [[True] * 3 + [False], [True] * 4]
    assert batch.direction_C.tolist() == [0, 2]
    assert batch.update_tokens == 7
    assert len(batch) == 2


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int64])
@settings(max_examples=80, deadline=None)
@given(sentences=pairs)
def test_sequences_are_framed_shifted_and_padded(dtype, sentences):
    batch = collate(sentences, dtype)
    tags = [(SEQUENCES.tags[d.source], SEQUENCES.tags[d.target]) for d in DIRECTIONS]
    sources = [[tags[row][0], *source, EOS] for row, source, _ in sentences]
    targets = [[tags[row][1], *target, EOS] for row, _, target in sentences]
    assert batch.source_BS.tolist() == padded(sources)
    assert batch.target_out_BT.tolist() == padded(targets)
    assert batch.target_in_BT.tolist() == padded([[EOS, *each[:-1]] for each in targets])
    assert batch.source_real_BS.sum(1).tolist() == [len(each) for each in sources]
    assert batch.target_real_BT.sum(1).tolist() == [len(each) for each in targets]
    assert torch.equal(batch.source_real_BS, batch.source_BS != PAD)
    assert torch.equal(batch.target_real_BT, batch.target_in_BT != PAD)
    assert batch.update_tokens == int(batch.target_real_BT.sum())
    assert {batch.source_BS.dtype, batch.target_in_BT.dtype, batch.target_out_BT.dtype} == {
        torch.int64
    }


def test_the_update_of_a_batch_may_be_larger_than_the_batch():
    assert collate([(0, [9], [9])], update_tokens=1234).update_tokens == 1234


def tensors_of(batch):
    for name in set(batch.__slots__) - {"flat"}:
        value = getattr(batch, name)
        if isinstance(value, Spans):
            yield from tensors_of(value)
        elif isinstance(value, torch.Tensor):
            yield value


@pytest.mark.parametrize("packed", [False, True])
def test_moving_a_batch_keeps_all_of_it_in_one_transfer(packed, monkeypatch):
    sentences = [(0, [10, 11], [20]), (1, [13], [21, 22])]
    room = Room(9, 9)
    batch = (
        pack(sentences, room, update_tokens=50) if packed else collate(sentences, update_tokens=50)
    )
    moves = []
    move = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda *a, **k: moves.append(a[1]) or move(*a, **k))
    there, back = batch.to("meta"), batch.to("cpu", non_blocking=True)
    assert moves == ["meta", "cpu"]
    monkeypatch.undo()
    for before, meta, same in zip(*map(tensors_of, (batch, there, back)), strict=True):
        assert meta.device.type == "meta"
        assert (meta.shape, meta.dtype) == (before.shape, before.dtype)
        assert torch.equal(same, before)
    # Already in one piece, it is moved as that piece.
    assert back.to("cpu").flat.data_ptr() == back.flat.data_ptr()
    assert back.update_tokens == there.update_tokens == 50
    assert (back.target_spans is not None) == packed


@settings(max_examples=80, deadline=None)
@given(sentences=pairs, spare=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_a_packed_row_holds_the_sequences_of_a_padded_batch_one_after_the_other(sentences, spare):
    padded = collate(sentences)
    used = padded.source_real_BS.sum().item(), padded.target_real_BT.sum().item()
    packed = pack(sentences, Room(used[0] + spare[0], used[1] + spare[1]))
    assert packed.update_tokens == padded.update_tokens
    for side, spans, real, rest in (
        ("source_BS", packed.source_spans, padded.source_real_BS, spare[0]),
        ("target_in_BT", packed.target_spans, padded.target_real_BT, spare[1]),
        ("target_out_BT", packed.target_spans, padded.target_real_BT, spare[1]),
    ):
        whole = getattr(padded, side)[real].tolist()
        assert getattr(packed, side).tolist() == [whole + [PAD] * rest]
        lengths = real.sum(1).tolist()
        assert spans.start_C1.diff().tolist()[: len(lengths)] == lengths
        assert spans.start_C1[-1] == len(whole) + rest
        assert spans.start_C1.diff().max() <= spans.bound
        assert spans.longest == max(lengths)
        expected = [[row, place] for row, n in enumerate(lengths) for place in range(n)]
        found = torch.stack((spans.sentence_Q, spans.place_Q), dim=1).tolist()
        assert found[: len(whole)] == expected
        assert not spans.place_Q[len(whole) :].any()
    rows = [row for row, _, _ in sentences]
    assert packed.direction_C.tolist()[: len(rows)] == rows
    assert len(packed.source_spans.start_C1) == len(packed.direction_C) + 1


def test_packed_batches_of_about_as_many_sentences_have_one_shape():
    shapes = set()
    for count in range(100, 112):
        packed = pack([(0, [9] * 5, [9] * 5)] * count, Room(1000, 1000))
        shapes.add(
            tuple(tensor.shape for tensor in tensors_of(packed) if tensor is not packed.counted_N)
        )
    assert len(shapes) == 1


def test_sentences_that_do_not_fit_the_room_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        pack([(0, [9] * 5, [9])], Room(6, 9))
    with pytest.raises(ValueError, match="longer than the bound"):
        pack([(0, [9] * 5, [9])], Room(9, 9, bound=4))


def test_every_sentence_needs_a_source_a_target_and_a_direction():
    with pytest.raises(ValueError, match="zip"):
        SEQUENCES.collate([np.array([9])], [], [DIRECTIONS[0]], rows=[0])


def test_a_language_without_a_tag_is_a_key_error():
    with pytest.raises(KeyError, match="it"):
        SEQUENCES.collate([np.array([9])], [np.array([9])], [Direction("it", "en")], rows=[0])
