"""Rows go to the workers in blocks that are bounded both in rows and in bytes."""

import tracemalloc
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from nsmt.data import blocks
from nsmt.data.prepare import prepare


def size(row):
    return sum(len(text.encode()) for text in row)


@given(st.lists(st.tuples(st.text("aä中", max_size=9), st.text("aä中", max_size=9))))
def test_blocks_have_all_rows_in_order_within_both_limits(rows):
    before = blocks.BLOCK_ROWS, blocks.BLOCK_BYTES
    try:
        blocks.BLOCK_ROWS, blocks.BLOCK_BYTES = 4, 40
        found = list(blocks._in_blocks(rows))
    finally:
        blocks.BLOCK_ROWS, blocks.BLOCK_BYTES = before
    assert [row for block in found for row in block] == rows
    assert all(0 < len(block) <= 4 for block in found)
    # A row above the limit is alone.
    assert all(sum(map(size, block)) <= 40 or len(block) == 1 for block in found)
    for block, after in pairwise(found):
        assert len(block) == 4 or sum(map(size, (*block, after[0]))) > 40


def test_lines_of_100_000_characters_take_no_more_memory_the_more_there_are():
    rows = ((f"{number:0100000}", f"{number:0100000}") for number in range(3000))
    tracemalloc.start()
    try:
        most = max(sum(map(size, block)) for block in blocks._in_blocks(rows))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most <= blocks.BLOCK_BYTES
    assert peak < 3 * blocks.BLOCK_BYTES


def test_the_size_of_blocks_changes_no_byte_of_the_corpus(synthetic, tmp_path, monkeypatch):
    found = []
    for limit in (blocks.BLOCK_BYTES, 3000):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", limit)
        place = tmp_path / str(limit)
        folder = prepare(synthetic, corpora=place, downloads=place, progress=False).folder
        found.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert found[0] == found[1]
