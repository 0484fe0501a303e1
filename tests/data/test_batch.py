import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.batch import SequenceFormat
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
    assert batch.direction_B.tolist() == [0, 2]
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


def test_moving_a_batch_keeps_all_of_it():
    batch = collate([(0, [10, 11], [20]), (1, [13], [21, 22])], update_tokens=50)
    moved = batch.to("meta")
    for name in batch.__slots__:
        before, after = getattr(batch, name), getattr(moved, name)
        if isinstance(before, torch.Tensor):
            assert after.device.type == "meta"
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        else:
            assert after == before


def test_every_sentence_needs_a_source_a_target_and_a_direction():
    with pytest.raises(ValueError, match="zip"):
        SEQUENCES.collate([np.array([9])], [], [DIRECTIONS[0]], rows=[0])


def test_a_language_without_a_tag_is_a_key_error():
    with pytest.raises(KeyError, match="it"):
        SEQUENCES.collate([np.array([9])], [np.array([9])], [Direction("it", "en")], rows=[0])
