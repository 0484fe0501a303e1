import tempfile
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from three_language_corpus import Rows, decided, kept_texts

from nsmt.data.blocks import number_of
from nsmt.data.settings import CleaningSettings, SplitSettings
from nsmt.data.split import SPLITS, HashSplit, HeldOut, pair_keys
from nsmt.data.tally import report_table
from nsmt.data.text import recognition_key
from nsmt.languages import Direction

EN_DE, EN_FR, DE_FR = (Direction.parse(text) for text in ("en-de", "en-fr", "de-fr"))
WORDS = st.text(alphabet="abcdeXYZ .,!", min_size=1, max_size=6)


@given(st.lists(WORDS, min_size=1), st.integers(0, 3))
def test_the_same_pivot_text_is_always_in_the_same_split(texts, seed):
    first, second = (
        HashSplit(SplitSettings(valid=0.3, test=0.3, seed_text=str(seed))) for _ in range(2)
    )
    for text in texts:
        text = f"a{text}"
        variant = f" {text.upper()}!"
        assert first.split(recognition_key(text)) == second.split(recognition_key(variant))


def test_shares_are_kept_and_test_takes_the_lowest_hashes():
    dealer = HashSplit(SplitSettings(valid=0.2, test=0.1))
    keys = [recognition_key(str(number)) for number in range(4000)]
    counts = Counter(map(dealer.split, keys))
    assert counts["test"] == pytest.approx(400, abs=80)
    assert counts["valid"] == pytest.approx(800, abs=110)
    highest = {s: max(dealer.place(k) for k in keys if dealer.split(k) == s) for s in counts}
    assert highest["test"] < highest["valid"] < highest["train"]


def test_another_seed_text_gives_another_split():
    keys = [recognition_key(str(number)) for number in range(200)]
    splits = [
        [HashSplit(SplitSettings(valid=0.3, test=0.3, seed_text=text)).split(k) for k in keys]
        for text in ("a", "b")
    ]
    assert splits[0] != splits[1]


def test_splits_that_are_given_take_nothing_from_train():
    dealer = HashSplit(SplitSettings(valid=0.4, test=0.4), given=("train", "test"))
    assert {dealer.split(recognition_key(str(n))) for n in range(200)} == {"train", "valid"}


def test_what_one_pair_is_given_moves_no_sentence_of_another():
    settings, keys = SplitSettings(valid=0.3, test=0.3), map(recognition_key, map(str, range(300)))
    given, cut = HashSplit(settings, given=("train", "test")), HashSplit(settings)
    pairs = {(given.split(key), cut.split(key)) for key in keys}
    assert pairs == {("train", "test"), ("valid", "valid"), ("train", "train")}


def keyed(source, target):
    """The keys of one pair, as blocks hold them."""
    return [np.array([number_of(key)], dtype=np.uint64) for key in pair_keys(source, target)]


def test_held_out_text_is_recognised_by_the_pivot_side_of_any_pair():
    held = HeldOut("en")
    held.add(EN_DE, *keyed("A dog.", "Ein Hund."))
    assert held.covers(EN_FR, *keyed("a dog", "autre chose"))
    assert not held.covers(EN_DE, *keyed("A hound.", "Ein Hund."))


def test_pairs_without_the_pivot_are_recognised_by_either_side():
    held = HeldOut("en")
    held.add(EN_DE, *keyed("A dog.", "Ein Hund."))
    assert held.covers(DE_FR, *keyed("Ein Hund.", "Un chien."))
    held.add(DE_FR, *keyed("Eine Katze.", "Un chat."))
    assert held.covers(EN_FR, *keyed("A cat.", "Un chat."))
    assert not held.covers(EN_FR, *keyed("Un chat.", "Anything."))


def keyed_rows(pairs, name):
    """Each kept row of a split: its pair, and the keys of its sides by language."""
    for cleaned in pairs:
        sides = (cleaned.pair.source, cleaned.pair.target)
        for row in kept_texts(cleaned, name):
            yield cleaned, dict(zip(sides, pair_keys(*row), strict=True))


def same(one, other):
    """Whether two rows say the same: in the pivot, or in any language if one lacks the pivot."""
    common = one.keys() & other.keys()
    return any(one[side] == other[side] for side in common & {"en"} or common)


ROWS = st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=30)
SETS = st.dictionaries(
    st.tuples(st.sampled_from(["en-de", "fr-en", "de-fr"]), st.sampled_from(["valid", "test"])),
    ROWS,
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(ROWS, SETS)
def test_no_split_has_text_of_another_unless_both_were_given(rows, given):
    split = SplitSettings(valid=0.3, test=0.3, max_valid=2)
    with tempfile.TemporaryDirectory() as folder:
        pairs, tally = decided(Rows(rows, given), Path(folder), split=split)
        train, valid, test = (list(keyed_rows(pairs, name)) for name in SPLITS)
    for (_, trained), (_, held) in product(train, valid + test):
        assert not same(trained, held)
    shared = [
        (cleaned, other)
        for cleaned, keys in valid
        if (other := next((other for other, more in test if same(keys, more)), None))
    ]
    assert all("valid" in ours.given and "test" in theirs.given for ours, theirs in shared)
    for cleaned in pairs:
        counts = tally.as_json(cleaned.pair)
        own = sum(len(r) for (pair, _), r in given.items() if pair == str(cleaned.pair))
        assert sum(entry["read"] for entry in counts.values()) == len(rows) + own
        for name, kept in zip(SPLITS, (train, valid, test), strict=True):
            assert counts[name]["kept"] == sum(each is cleaned for each, _ in kept)
        assert counts["valid"]["shared_with_test"] == sum(ours is cleaned for ours, _ in shared)
        assert "valid" in cleaned.given or counts["valid"]["kept"] <= 2


SPOKEN = [(f"english {n}", f"deutsch {n}", f"francais {n}") for n in range(200)]


def english_of(pairs, name):
    return [keys["en"] for _, keys in keyed_rows(pairs, name) if "en" in keys]


@pytest.mark.parametrize(("given", "cut"), [("test", "valid"), ("valid", "test")])
def test_what_is_cut_from_train_leaves_out_what_is_given_and_counts_it(tmp_path, given, cut):
    split = SplitSettings(valid=0.3, test=0.3)
    pairs, tally = decided(Rows(SPOKEN, {("fr-en", given): SPOKEN[:50]}), tmp_path, split=split)
    assert english_of(pairs, cut)
    assert not set(english_of(pairs, cut)) & set(english_of(pairs, given))
    assert tally.as_json(EN_DE)[cut]["dropped"][f"in_{given}"] > 0


def test_sets_that_were_both_given_keep_what_they_share_and_it_is_counted(tmp_path):
    given = {("en-de", "valid"): SPOKEN[:10], ("fr-en", "test"): SPOKEN[7:20]}
    pairs, tally = decided(Rows(SPOKEN, given), tmp_path)
    assert len(set(english_of(pairs, "valid")) & set(english_of(pairs, "test"))) >= 3
    entry = tally.as_json(EN_DE)["valid"]
    assert (entry["kept"], entry["shared_with_test"]) == (10, 3)
    table = report_table({"name": "x", "pairs": {"en-de": tally.as_json(EN_DE)}})
    assert "kept: 3 that test has too" in list(table.columns[-1].cells)


def test_pairs_that_differ_by_what_normalisation_removes_are_one(tmp_path):
    again = [(f" english\u200b {n}", f"deutsch  {n}", "cafe\u0301") for n in range(5)]
    cleaning = CleaningSettings(steps=("empty",))
    pairs, tally = decided(Rows([*SPOKEN, *again]), tmp_path, cleaning=cleaning)
    kept = sum(len(kept_texts(pairs[0], name)) for name in SPLITS)
    dropped = sum(e["dropped"].get("duplicate", 0) for e in tally.as_json(EN_DE).values())
    assert (pairs[0].pair, kept, dropped) == (EN_DE, 200, 5)


def test_a_tokenised_and_escaped_copy_of_a_test_sentence_is_not_trained_on(tmp_path):
    test = [('It\'s "fine" & [well].', "Es ist gut.", "C'est bien.")]
    copy = ("it &apos;s &quot; fine &quot; &amp; &#91; well &#93; .", "Gut so.", "Bien.")
    given = {("fr-en", "test"): test, ("en-de", "valid"): SPOKEN[:1]}
    pairs, _ = decided(Rows([*SPOKEN, copy], given), tmp_path)
    assert all("Gut so." not in row for row in kept_texts(pairs[0], "train"))
    assert len(english_of(pairs, "test")) >= 1
