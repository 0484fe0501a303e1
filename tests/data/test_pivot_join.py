"""Claims about test text of directions that a corpus has no text of."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nsmt.data.corpus import Corpus, encoded_table
from nsmt.data.pivot_join import join, meanings, unseen_texts
from nsmt.languages import Direction

# Few sentences, so that they repeat on either side.
rows = st.lists(st.tuples(st.sampled_from("abcdef"), st.text("xyz", max_size=3)), max_size=12)
DE_FR = Direction("de", "fr")


def slowly_joined(of_source, of_target):
    """Every pair of rows is looked at; what was found for a sentence before is not taken again."""
    found = {}
    for sentence, source in of_source:
        for other, target in of_target:
            if sentence == other and sentence not in found:
                found[sentence] = (source, target)
    return [(sentence, *sides) for sentence, sides in found.items()]


@given(rows, rows)
def test_rows_with_the_same_pivot_sentence_are_joined_once(of_source, of_target):
    joined = join(of_source, of_target)
    found = list(zip(joined.meanings, joined.sources, joined.targets, strict=True))
    assert found == slowly_joined(of_source, of_target)
    assert joined.joined


@given(rows, rows)
def test_both_ways_have_the_same_sentences(of_source, of_target):
    there, back = join(of_source, of_target), join(of_target, of_source)
    found = zip(there.meanings, there.sources, there.targets, strict=True)
    reversed_ = zip(back.meanings, back.targets, back.sources, strict=True)
    assert set(found) == set(reversed_)


def test_sentences_that_differ_at_all_are_not_joined():
    assert len(join([("Go.", "Geh.")], [("Go", "Va."), ("go.", "Va.")])) == 0


@given(rows, rows, rows, st.integers(1, 6))
def test_fewer_sentences_are_the_same_ones_in_all_directions(one, other, third, number):
    cut = join(one, other).at_most(number)
    assert len(cut) == min(number, len(join(one, other)))
    whole = join(one, other)
    assert [m for m in whole.meanings if m in cut.meanings] == list(cut.meanings)
    kept = dict(zip(whole.meanings, whole.targets, strict=True))
    assert [kept[meaning] for meaning in cut.meanings] == list(cut.targets)
    if set(join(one, third).meanings) == set(whole.meanings):
        assert set(join(one, third).at_most(number).meanings) == set(cut.meanings)


def test_a_corpus_is_joined_by_its_pivot(run_corpus):
    corpus = Corpus.open(run_corpus)
    text = unseen_texts(corpus, [DE_FR])[DE_FR]
    german, english = corpus.texts(Direction("de", "en"), "test")
    french = dict(zip(*corpus.texts(Direction("en", "fr"), "test"), strict=True))
    expected = {
        en: (de, french[en]) for de, en in zip(german, english, strict=True) if en in french
    }
    assert len(text) >= 10
    assert dict(zip(text.meanings, zip(text.sources, text.targets, strict=True), strict=True)) == (
        expected
    )


def test_text_of_the_direction_itself_comes_first(run_corpus):
    corpus = Corpus.open(run_corpus)
    for direction in (Direction("en", "de"), Direction("de", "en")):
        text = unseen_texts(corpus, [direction])[direction]
        assert not text.joined
        sources, targets = corpus.texts(direction, "test")
        assert (list(text.sources), list(text.targets)) == (sources, targets)
    # Both ways say the same.
    there, back = (
        unseen_texts(corpus, [d])[d] for d in (Direction("en", "de"), Direction("de", "en"))
    )
    assert there.meanings == back.meanings


def test_sentences_mean_what_their_pivot_side_says_whichever_way(run_corpus):
    corpus = Corpus.open(run_corpus)
    found = meanings(corpus, corpus.directions)
    for code in ("de", "fr"):
        english, _ = corpus.texts(Direction("en", code), "test")
        assert found[Direction("en", code)] == found[Direction(code, "en")] == english


def test_sentences_of_pairs_without_the_pivot_are_told_by_language():
    class Made:
        pivot = "en"
        pairs = (Direction("en", "de"), Direction("de", "fr"))

        def texts(self, direction, split):
            assert split == "test"
            return ["a", "b"], ["c", "a"]

    found = meanings(Made(), [Direction("en", "de"), Direction("de", "fr"), Direction("fr", "de")])
    assert found[Direction("en", "de")] == ["a", "b"]
    assert found[Direction("de", "fr")] == ["de\ta", "de\tb"]
    assert found[Direction("fr", "de")] == ["de\tc", "de\ta"]


def test_a_language_without_text_with_the_pivot_has_nothing_to_join(run_corpus):
    direction = Direction("cs", "de")
    assert len(unseen_texts(Corpus.open(run_corpus), [direction])[direction]) == 0


def test_pieces_of_text_are_those_that_preparation_stored(run_corpus):
    corpus = Corpus.open(run_corpus)
    direction = Direction("en", "fr")
    stored = corpus.table(direction, "test")
    made = encoded_table(corpus.vocabulary, *corpus.texts(direction, "test"))
    assert len(made) == len(stored)
    assert np.array_equal(made.source_lengths, stored.source_lengths)
    for row in range(len(stored)):
        assert np.array_equal(made.source(row), stored.source(row))
        assert np.array_equal(made.target(row), stored.target(row))
