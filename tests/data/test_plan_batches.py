"""What one batch of the plan holds, padded or packed, and how held-out text is read in order."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_plans import (
    NAMES,
    SEQUENCES,
    column_like,
    epoch_of,
    longest_side,
    plan_like,
    plans,
    sentences_of,
    sentences_of_packed,
    tables_like,
)

from nsmt.data.corpus import TokenTable
from nsmt.data.datamodule import TableReader
from nsmt.data.plan import BatchSettings, in_order
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction


def test_micro_batches_mix_directions():
    # Sentences of one length: only the random order among equals can mix them.
    plan = plan_like(tables_like([100, 100, 100], longest=1), tokens=30, per_update=1)
    batches = [planned for update in epoch_of(plan, 0) for planned in update.batches]
    mixed = sum(len(set(planned.direction.tolist())) > 1 for planned in batches)
    assert mixed > 0.9 * len(batches)


def test_micro_batches_hold_sentences_of_similar_length():
    # Translations are about as long as their sources.
    rng = np.random.default_rng(0)
    tables = {}
    for name in NAMES:
        lengths = rng.integers(3, 31, 200)
        others = lengths + rng.integers(-2, 3, 200)
        tables[Direction.parse(name)] = TokenTable(
            column_like(lengths, rng), column_like(others, rng)
        )
    reader = TableReader(tables, SEQUENCES)
    real = total = 0
    for update in epoch_of(plan_like(tables, tokens=256, per_update=1), 0):
        for planned in update.batches:
            batch = reader.read(planned)
            real += int(batch.target_real_BT.sum() + batch.source_real_BS.sum())
            total += batch.target_real_BT.numel() + batch.source_real_BS.numel()
    assert real / total > 0.9


def test_the_tokens_of_an_update_are_the_real_target_tokens_of_its_batches():
    tables = tables_like([60, 50, 40])
    plan, reader = plan_like(tables), TableReader(tables, SEQUENCES)
    for update in epoch_of(plan, 0):
        real = sum(int(reader.read(each).target_real_BT.sum()) for each in update.batches)
        assert update.target_tokens == real


def test_batches_hold_the_pieces_of_the_sentences_planned():
    tables = tables_like([30, 20])
    own = list(tables.items())
    plan, reader = plan_like(tables), TableReader(tables, SEQUENCES)
    for planned in epoch_of(plan, 0)[0].batches:
        batch = reader.read(planned)
        for place, (row, source, target) in enumerate(sentences_of(batch)):
            direction, table = own[row]
            sentence = int(planned.row[place])
            tags = SEQUENCES.tags[direction.source], SEQUENCES.tags[direction.target]
            assert source == (tags[0], *table.source(sentence).tolist(), 2)
            assert target == (tags[1], *table.target(sentence).tolist(), 2)


@settings(max_examples=25, deadline=None)
@given(plans)
def test_a_packed_plan_has_the_sentences_of_a_padded_one_in_batches_of_one_size(shape):
    sizes, tokens, temperature, seed = shape
    tables, read = tables_like(sizes), {}
    reader = TableReader(tables, SEQUENCES)
    for layout in ("padded", "packed"):
        plan = plan_like(
            tables,
            tokens=max(tokens, 40),
            per_update=1,
            temperature=temperature,
            seed=seed,
            layout=layout,
        )
        found = sentences_of if layout == "padded" else sentences_of_packed
        batches = [reader.read(each) for update in epoch_of(plan, 0) for each in update.batches]
        read[layout] = Counter(sentence for batch in batches for sentence in found(batch))
        if layout == "packed":
            assert len({(b.source_BS.shape, b.target_in_BT.shape) for b in batches}) == 1
            assert max(batches[0].source_BS.shape[1], batches[0].target_in_BT.shape[1]) == max(
                tokens, 40
            )
            # A compiler sees one bound too, however short the sentences of a batch are.
            longest = max(
                max(t.source_lengths.max(), t.target_lengths.max()) for t in tables.values()
            )
            (bound,) = {spans.bound for b in batches for spans in (b.source_spans, b.target_spans)}
            assert longest + 2 <= bound < 2 * (longest + 2)
    assert read["packed"] == read["padded"]


def test_a_sentence_longer_than_a_packed_batch_is_told_with_the_fix():
    with pytest.raises(ConfigurationError, match=r"longer than a packed batch(.|\n)*batch\.tokens"):
        next(plan_like(tables_like([30], longest=60), tokens=20, layout="packed").updates())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=3), st.sampled_from([8, 40, 500]))
def test_packed_validation_reads_every_sentence_once_however_long(sizes, tokens):
    tables = tables_like(sizes)
    batches = in_order(tables, BatchSettings(tokens=tokens, layout="packed"))
    seen = [
        pair
        for planned in batches
        for pair in zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
    ]
    assert sorted(seen) == [(row, place) for row, size in enumerate(sizes) for place in range(size)]
    reader = TableReader(tables, SEQUENCES)
    assert all(reader.read(planned).target_spans is not None for planned in batches)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=3), st.sampled_from([8, 40, 500]))
def test_in_order_covers_every_sentence_once_within_the_limit(sizes, tokens):
    tables = tables_like(sizes)
    batches = in_order(tables, BatchSettings(tokens=tokens))
    seen = [
        pair
        for planned in batches
        for pair in zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
    ]
    expected = [(row, sentence) for row, size in enumerate(sizes) for sentence in range(size)]
    assert sorted(seen) == expected
    for planned in batches:
        assert len(planned.row) > 0
        size = len(planned.row) * longest_side(tables, planned)
        # A sentence above the limit stands alone.
        assert size <= tokens or len(planned.row) == 1
