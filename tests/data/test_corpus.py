import json
import pickle
import re
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data import corpus as corpus_module
from nsmt.data.corpus import MANIFEST, Corpus, StoredArray, TableWriter, TokenColumn, token_type
from nsmt.data.text import normalise
from nsmt.errors import DataError
from nsmt.languages import Direction

DE_EN = Direction("de", "en")


def test_both_ways_read_the_same_file(run, synthetic):
    corpus = run(synthetic)
    there, back = corpus.table(DE_EN.reverse, "train"), corpus.table(DE_EN, "train")
    assert len(there) == len(back) == corpus.report["pairs"]["en-de"]["train"]["kept"] > 100
    for row in (0, len(there) - 1):
        np.testing.assert_array_equal(there.source(row), back.target(row))
        np.testing.assert_array_equal(there.target(row), back.source(row))
    assert there.source_lengths.dtype == np.int32
    assert there.source_lengths.tolist() == back.target_lengths.tolist()
    assert [len(there.source(row)) for row in range(len(there))] == there.source_lengths.tolist()


def test_pieces_come_in_the_type_they_are_stored_in(run, synthetic):
    first = run(synthetic).table(DE_EN, "train").source(0)
    assert first.dtype == np.uint16
    assert not first.flags.writeable


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_corpus_of_a_hundred_pairs_does_not_use_up_the_open_files(tmp_path):
    paths = [tmp_path / f"{number}.npy" for number in range(400)]
    for number, path in enumerate(paths):
        np.save(path, np.arange(number, number + 5))
    arrays = [StoredArray(path) for path in paths]
    for _ in range(2):
        for number, array in enumerate(arrays):
            assert array[1:3].tolist() == [number + 1, number + 2]
            assert array[3:3].tolist() == []
    opened = [link for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert sum(tmp_path in link.resolve().parents for link in opened) <= 256


@pytest.mark.parametrize("split", ["valid", "test"])
def test_held_out_texts_are_those_of_the_pieces(run, synthetic, split):
    corpus = run(synthetic)
    sources, targets = corpus.texts(DE_EN, split)
    table = corpus.table(DE_EN, split)
    pieces = [table.source(row) for row in range(len(table))]
    assert len(table) > 5
    assert corpus.vocabulary.decode(pieces) == [normalise(text) for text in sources]
    assert corpus.texts(DE_EN.reverse, split) == (targets, sources)


def test_what_the_corpus_says_of_itself(run, synthetic):
    corpus = run(synthetic)
    assert corpus.pivot == "en"
    assert [str(pair) for pair in corpus.pairs] == ["en-de", "en-fr", "de-fr"]
    assert [str(direction) for direction in corpus.directions] == ["en-de", "de-en", "fr-en"]
    assert corpus.languages["fr"].family == "Romance"
    assert set(corpus.licences) == {"en", "de", "fr"}
    assert set(corpus.vocabulary.languages) == {"en", "de", "fr"}


def test_opening_takes_milliseconds_and_workers_open_anew(run, synthetic):
    corpus = run(synthetic)
    corpus.table(DE_EN, "train")
    start = time.perf_counter()
    again = type(corpus).open(corpus.folder)
    assert time.perf_counter() - start < 0.1
    assert again.fingerprint == corpus.fingerprint
    sent = pickle.dumps(corpus)
    assert len(sent) < 1000
    assert len(pickle.loads(sent).table(DE_EN, "train")) == len(corpus.table(DE_EN, "train"))


def mapped_mib():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssFile:\s*(\d+)", status)[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_reading_a_corpus_leaves_none_of_it_in_memory(tmp_path):
    writer = TableWriter(tmp_path, DE_EN, "train", np.dtype(np.uint16))
    rng = np.random.default_rng(0)
    lengths = np.full(100_000, 100)
    for _ in range(2):
        ids = rng.integers(0, 1000, lengths.sum())
        writer.add([(ids, lengths), (ids, lengths)])
    writer.finish()
    corpus = object.__new__(Corpus)
    corpus.folder, corpus.pairs, corpus._opened = tmp_path, [DE_EN], {}
    table = corpus.table(DE_EN, "train")
    before = mapped_mib()
    rows = rng.integers(0, len(table), 5000)
    assert {len(table.source(row)) for row in rows.tolist()} == {100}
    assert table.targets.lengths(rows).tolist() == [100] * 5000
    assert int(table.sources.values[:].sum()) > 0
    assert mapped_mib() - before < 5


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_stored_array_reads_as_the_array_itself(tmp_path_factory, size, start, stop):
    path = tmp_path_factory.mktemp("stored") / "some.npy"
    whole = np.arange(size, dtype=np.uint16) * 7
    np.save(path, whole)
    stored = StoredArray(path)
    assert len(stored) == size
    assert stored[start:stop].tolist() == whole[start:stop].tolist()
    assert stored[start:].dtype == np.uint16
    places = np.arange(size)[::-3]
    assert stored[places].tolist() == whole[places].tolist()


def test_missing_text_is_answered_by_what_there_is(run, synthetic):
    corpus = run(synthetic)
    with pytest.raises(DataError, match="en-de, en-fr, de-fr"):
        corpus.table(Direction("en", "es"), "train")
    with pytest.raises(DataError, match="train, valid, test"):
        corpus.table(DE_EN, "dev")
    with pytest.raises(DataError, match="not kept"):
        corpus.texts(DE_EN, "train")


def test_damage_is_told_by_name(run, synthetic, tmp_path):
    corpus = run(synthetic)
    open_again = type(corpus).open
    with pytest.raises(DataError, match=r"no readable corpus\.json"):
        open_again(tmp_path)
    path = corpus.folder / "train.en-fr.fr.ids.npy"
    content = path.read_bytes()
    corpus.verify()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=r"train\.en-fr\.fr\.ids\.npy was changed"):
        corpus.verify()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"train\.en-fr\.fr\.ids\.npy is missing or was cut short"):
        open_again(corpus.folder)
    path.unlink()
    with pytest.raises(DataError, match="incomplete"):
        open_again(corpus.folder)
    manifest = json.loads((corpus.folder / MANIFEST).read_text())
    (corpus.folder / MANIFEST).write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(DataError, match="version 99"):
        open_again(corpus.folder)


def test_ids_take_the_smallest_type_that_holds_them():
    assert token_type(65_536) == np.uint16
    assert token_type(65_537) == np.uint32


@given(st.lists(st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=6), max_size=5), max_size=4))
def test_a_table_written_block_by_block_reads_back(blocks):
    sentences = [sentence for block in blocks for sentence in block]
    with tempfile.TemporaryDirectory() as folder:
        writer = TableWriter(Path(folder), DE_EN, "valid", np.dtype(np.uint16))
        for block in blocks:
            flat = np.array([piece for sentence in block for piece in sentence], dtype=np.uint16)
            lengths = np.array(list(map(len, block)), dtype=np.int64)
            lines = [" ".join(map(str, sentence)) for sentence in block]
            writer.add([(flat, lengths), (flat[::-1], lengths[::-1])], texts=(lines, lines[::-1]))
        total = sum(map(len, sentences))
        assert writer.finish() == {"de": total, "en": total}
        for code, expected in (("de", sentences), ("en", None)):
            ids, offsets = (
                np.load(Path(folder) / f"valid.de-en.{code}.{part}.npy", mmap_mode="r")
                for part in ("ids", "offsets")
            )
            column = TokenColumn(ids, offsets)
            assert len(column) == len(sentences)
            assert column.lengths().sum() == total
            with mock.patch.object(corpus_module, "_AT_ONCE", 2):
                assert column.longest() == column.lengths().max(initial=0)
            if expected is not None:
                assert [column[row].tolist() for row in range(len(column))] == expected
                rows = np.arange(len(column))[::-1]
                assert column.lengths(rows).tolist() == [len(s) for s in sentences[::-1]]
