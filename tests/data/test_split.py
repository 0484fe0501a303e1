import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.blocks import clean_pairs, cleaned_pair, columns, number_of, texts
from nsmt.data.kept import drop_held_out, drop_repeated, hold_out
from nsmt.data.settings import CleaningSettings, SplitSettings
from nsmt.data.sources.synthetic import SyntheticSettings
from nsmt.data.split import SPLITS, HashSplit, HeldOut, pair_keys
from nsmt.data.tally import Tally
from nsmt.data.text import recognition_key
from nsmt.data.workers import Workers
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


class Rows:
    """A source of pairs that all say rows of (en, de, fr)."""

    def __init__(self, rows: list[tuple[str, str, str]]) -> None:
        self.rows = rows

    def splits(self, pair: Direction) -> tuple[str, ...]:
        return ("train",)

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        columns = {"en": 0, "de": 1, "fr": 2}
        for row in self.rows:
            yield row[columns[pair.source]], row[columns[pair.target]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=30))
def test_no_text_of_valid_or_test_is_left_in_train(rows):
    options = SyntheticSettings(
        source="synthetic",
        pairs=("en-de", "fr-en", "de-fr"),
        split=SplitSettings(valid=0.3, test=0.3, max_valid=2),
        cleaning=CleaningSettings(steps=("whitespace", "empty")),
    )
    tally, held_out = Tally(), HeldOut("en")
    with tempfile.TemporaryDirectory() as folder:
        with Workers(1) as workers:
            clean_pairs(
                Rows(rows), options, folder=Path(folder), workers=workers, advance=lambda: None
            )
        pairs = [cleaned_pair(Path(folder), p, ("train",), tally) for p in options.parsed_pairs]
        for cleaned in pairs:
            drop_repeated(cleaned, tally)
            hold_out(cleaned, held_out, options.split, tally)
        for cleaned in pairs:
            drop_held_out(cleaned, held_out, tally)
        held, trained = defaultdict(set), []
        for cleaned in pairs:
            sides = (cleaned.pair.source, cleaned.pair.target)
            for path, kept in zip(cleaned.blocks, cleaned.kept, strict=True):
                (split,) = columns(path, "split")
                for place, name in enumerate(SPLITS):
                    found = zip(*texts(path, kept & (split == place)), strict=True)
                    for keys in (pair_keys(*row) for row in found):
                        if name == "train":
                            trained.append((sides, keys))
                            continue
                        for side, key in zip(sides, keys, strict=True):
                            held[side].add(key)
        for sides, keys in trained:
            keyed = dict(zip(sides, keys, strict=True))
            decisive = {"en"} if "en" in sides else set(sides)
            assert not any(keyed[side] in held[side] for side in decisive)
        for pair in options.parsed_pairs:
            counts = tally.as_json(pair)
            assert sum(entry["read"] for entry in counts.values()) == len(rows)
            assert counts["valid"]["kept"] <= 2
