"""Claims about which sentences a probe looks at."""

from types import SimpleNamespace

import numpy as np
import pytest

from nsmt.languages import Direction
from nsmt.probing.sentences import places

TEXTS = {
    "en": ["Go.", "Come!", "Stay."],
    "de": ["Geh.", "Komm!", "Bleib."],
    "fr": ["Va.", "Viens !", "Reste."],
}


def numbers(direction, *, pairs, purpose="halves"):
    """Of a corpus of these pairs in which all languages say the same."""
    corpus = SimpleNamespace(
        pivot="en",
        pairs=[Direction.parse(pair) for pair in pairs],
        texts=lambda way, _: (TEXTS[way.source], TEXTS[way.target]),
    )
    return places(corpus, Direction.parse(direction), "valid", purpose=purpose).tolist()


PAIRS = ("de-en", "en-fr", "de-fr")


def test_all_directions_with_the_pivot_have_the_numbers_of_its_text():
    of_english = numbers("en-de", pairs=PAIRS)
    # As finished probes have them.
    assert of_english == [0.8630110380879056, 0.4089868227575938, 0.5047024237578781]
    for direction in ("de-en", "en-fr", "fr-en"):
        assert numbers(direction, pairs=PAIRS) == of_english
    assert numbers("en-de", pairs=PAIRS, purpose="gradients") != of_english


@pytest.mark.parametrize("pair", ["de-fr", "fr-de"])
def test_both_ways_of_a_pair_without_the_pivot_have_the_numbers_of_its_first_language(pair):
    there, back = (numbers(way, pairs=[pair]) for way in ("de-fr", "fr-de"))
    assert there == back == numbers(pair, pairs=[pair])
    assert np.unique(there).size == len(TEXTS["de"])


def test_the_first_language_decides():
    one, other = (numbers("de-fr", pairs=[pair]) for pair in ("de-fr", "fr-de"))
    assert not set(one) & set(other)
