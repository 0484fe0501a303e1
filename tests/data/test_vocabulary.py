import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsmt.data.encode import sample_sizes
from nsmt.data.settings import VocabularySettings
from nsmt.data.vocabulary import Vocabulary
from nsmt.errors import ConfigurationError, DataError

TEXT = [
    "In the beginning God created the heaven and the earth.",
    "آسمانها و زمین نمی\u200cدانم",
    "परमेश्\u200dवर ने आकाश और पृथ्वी की सृष्टि की।",
    "<2de> is < 2 d e > only text, so is </s> and <pad>, as are p and /",
] * 3


def train(**options: object) -> Vocabulary:
    settings = VocabularySettings(**{"size": 140, **options})
    return Vocabulary.train(TEXT, languages=("en", "de", "deu_Latn"), settings=settings)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return train()


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_text_survives_the_round_trip(kind):
    vocabulary = train(kind=kind, size=73 if kind == "unigram" else 140)
    assert vocabulary.decode(vocabulary.encode(TEXT)) == TEXT


def test_specials_have_fixed_ids_and_tags_follow_them(vocabulary):
    assert [vocabulary.piece(row) for row in range(4)] == ["<pad>", "<s>", "</s>", "<unk>"]
    assert (vocabulary.pad, vocabulary.bos, vocabulary.eos, vocabulary.unk) == (0, 1, 2, 3)
    assert [vocabulary.tag(code) for code in ("en", "de", "deu_Latn")] == [4, 5, 6]
    assert vocabulary.languages == ("en", "de", "deu_Latn")
    assert vocabulary.size == 140


def test_no_text_is_ever_encoded_to_a_tag_or_special(vocabulary):
    reserved = {0, 1, 2, *vocabulary.tags.values()}
    texts = ["<2de>", "<2deu_Latn>", "a<2en>b", "</s>", "<s><pad>"]
    assert not reserved & set(np.concatenate(vocabulary.encode(texts)).tolist())


def test_decoding_passes_over_tags_and_specials(vocabulary):
    (pieces,) = vocabulary.encode(["the earth"])
    framed = [vocabulary.tag("de"), *pieces, vocabulary.eos, vocabulary.pad]
    assert vocabulary.decode([framed, [], [vocabulary.pad]]) == ["the earth", "", ""]


def test_decoding_accepts_numpy_ids(vocabulary):
    pieces = np.array(vocabulary.encode(["the earth"])[0], dtype=np.uint16)
    assert vocabulary.decode([pieces]) == ["the earth"]


def test_unknown_language_is_answered_by_those_known(vocabulary):
    with pytest.raises(ConfigurationError, match="en, de, deu_Latn"):
        vocabulary.tag("fr")


def test_equal_text_gives_equal_bytes(vocabulary, tmp_path):
    again = train()
    assert again.fingerprint == vocabulary.fingerprint
    vocabulary.save(tmp_path / "model")
    loaded = Vocabulary.load(tmp_path / "model")
    assert loaded.fingerprint == vocabulary.fingerprint
    assert loaded.tags == vocabulary.tags


def test_bytes_spell_unknown_characters_where_asked():
    vocabulary = train(byte_fallback=True, size=400)
    assert vocabulary.decode(vocabulary.encode(["Ωmega"])) == ["Ωmega"]


def test_a_size_that_the_text_cannot_fill_is_answered_by_one_that_it_can():
    with pytest.raises(DataError, match="at most") as raised:
        train(size=5000)
    bound = int(raised.value.fix.split("at most ")[1].split(",")[0])
    assert train(size=bound).size == bound


def test_a_size_below_the_characters_is_answered_by_the_smallest():
    with pytest.raises(DataError, match="at least") as raised:
        train(size=20)
    bound = int(raised.value.fix.split("at least ")[1].split(",")[0])
    assert train(size=bound).size == bound


@pytest.mark.parametrize("content", [b"", b"no model", json.dumps({}).encode()])
def test_a_foreign_model_is_refused(tmp_path, content):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(DataError):
        Vocabulary.load(tmp_path / "model")


def test_larger_temperature_samples_flatter():
    sizes = {"en": 1000, "de": 10}
    natural = sample_sizes(sizes, total=505, temperature=1.0)
    flat = sample_sizes(sizes, total=505, temperature=5.0)
    assert natural == {"en": 500, "de": 5}
    assert natural["de"] < flat["de"] < 252
    assert sum(flat.values()) == 505


@settings(max_examples=30)
@given(st.lists(st.text(max_size=20), max_size=12), st.sampled_from([1, 200]))
def test_flat_pieces_are_the_pieces(vocabulary, texts, times):
    texts = texts * times
    ids, lengths = vocabulary.encode_flat(texts)
    encoded = vocabulary.encode(texts)
    assert lengths.tolist() == [len(pieces) for pieces in encoded]
    assert ids.tolist() == [piece for pieces in encoded for piece in pieces]
