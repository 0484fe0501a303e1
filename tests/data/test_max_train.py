"""Claims about `data.max_train`: pairs with at most so many training sentences."""

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from three_language_corpus import PAIRS, Rows, corpus_settings, decided, kept_texts

from nsmt.data.settings import SplitSettings
from nsmt.data.split import SPLITS
from nsmt.data.text import recognition_key
from nsmt.languages import Direction

# en-de has a test set of its own.
GIVEN = {("en-de", "test"): [("a test", "ein Test", "un test")]}


def kept(rows, **more):
    """What is kept of every pair and split, and the counts."""
    with tempfile.TemporaryDirectory() as folder:
        pairs, tally = decided(Rows(rows, GIVEN), Path(folder), **more)
        return {(str(c.pair), name): kept_texts(c, name) for c in pairs for name in SPLITS}, tally


def slowly(rows, pair, limit):
    """The rows of lowest hash of the pivot's side, else of the first, in the order of the rows."""
    side = 1 if pair.endswith("-en") else 0
    person = hashlib.blake2b(b"nsmt", digest_size=32).digest()

    def hashed(row):
        found = hashlib.blake2b(recognition_key(row[side]), digest_size=7, key=person)
        return int.from_bytes(found.digest(), "little") // 8

    best = sorted(range(len(rows)), key=lambda place: (hashed(rows[place]), place))[:limit]
    return [rows[place] for place in sorted(best)]


# The same text in several rows, in another case too: equal hashes.
WORDS = st.text(alphabet="abcX ", min_size=1, max_size=4)
ROWS = st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=30)
LIMITS = st.dictionaries(st.sampled_from(PAIRS), st.integers(1, 12))


@settings(max_examples=60, deadline=None)
@given(ROWS, LIMITS, st.integers(1, 5))
def test_the_training_sentences_of_lowest_hash_stay_and_nothing_else_changes(rows, limits, more):
    split = SplitSettings(valid=0.2, test=0.2, max_valid=3)
    whole, _ = kept(rows, split=split)
    smaller, tally = kept(rows, split=split, max_train=limits)
    raised = {pair: limit + more for pair, limit in limits.items()}
    larger, _ = kept(rows, split=split, max_train=raised)
    for (pair, name), before in whole.items():
        if name == "train" and pair in limits:
            assert smaller[pair, name] == slowly(before, pair, limits[pair])
            assert set(smaller[pair, name]) <= set(larger[pair, name])
        else:
            assert smaller[pair, name] == before
        counts = tally.as_json(Direction.parse(pair))[name]
        gone = len(before) - len(smaller[pair, name])
        assert counts["dropped"].get("train_surplus", 0) == gone
        assert counts["kept"] == len(smaller[pair, name])


def test_pairs_with_the_same_pivot_text_keep_the_same_sentences_of_it():
    rows = [(f"english {n}", f"deutsch {n}", f"francais {n}") for n in range(100)]
    found, _ = kept(rows, max_train={"en-de": 10, "fr-en": 30})
    english = {source for source, _ in found["en-de", "train"]}
    assert len(english) == 10
    assert english < {target for _, target in found["fr-en", "train"]}


def test_a_limited_corpus_has_so_many_sentences_and_the_held_out_text_of_the_whole_one(
    run, synthetic
):
    whole = run(synthetic)
    corpus = run(synthetic.model_copy(update={"max_train": {"fr-en": 50}}))
    assert corpus.folder != whole.folder
    for pair in corpus.pairs:
        limit = 50 if str(pair) == "en-fr" else len(whole.table(pair, "train"))
        assert len(corpus.table(pair, "train")) == limit
        for name in ("valid", "test"):
            assert corpus.texts(pair, name) == whole.texts(pair, name)
    assert corpus.report["pairs"]["en-fr"]["train"]["dropped"]["train_surplus"] > 100


def test_without_limits_a_corpus_is_named_as_before_there_were_any():
    assert "max_train" not in corpus_settings().identity()
    assert corpus_settings(max_train={}).identity() == corpus_settings().identity()


def test_a_pair_may_be_named_either_way_round():
    one, other = (corpus_settings(max_train={pair: 5}) for pair in ("fr-en", "en-fr"))
    assert one.identity() == other.identity()
    assert one.identity()["max_train"] == {"fr-en": 5}
    assert other.train_limits == {Direction("fr", "en"): 5}


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"en-ru": 5, "de-en": 5}, "['en-ru'] are not among the pairs: en-de, fr-en, de-fr"),
        ({"de": 5}, "['de'] are not among the pairs"),
        ({"de-en-de": 5}, "['de-en-de'] are not among the pairs"),
        ({"en-fr": 5, "fr-en": 6}, "en-fr, fr-en name a pair twice"),
        ({"en-de": 0}, "greater than or equal to 1"),
    ],
)
def test_a_limit_that_fits_no_pair_is_named(limits, said):
    with pytest.raises(ValidationError) as caught:
        corpus_settings(max_train=limits)
    assert "max_train" in str(caught.value)
    assert said in str(caught.value)
