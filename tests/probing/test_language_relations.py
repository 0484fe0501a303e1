"""Claims about relations of languages: what is known of them, and the tests over them."""

import math
from itertools import combinations

import numpy as np
import pytest
import yaml

from nsmt.languages import CATALOGUE, Language
from nsmt.probing import language_facts
from nsmt.probing.language_facts import (
    RELATIONS,
    order_distance,
    relation_matrix,
    resource_class,
    same_family,
    same_script,
)
from nsmt.probing.language_relations import correlated, pair_groups, related
from nsmt.probing.ranks import mantel

BIBLE = ("en", "de", "es", "fr", "it", "ru", "hi", "ar")


def test_every_row_of_the_table_is_of_the_catalogue_and_of_one_form():
    rows = yaml.safe_load(language_facts._TABLE.read_text())
    assert rows.keys() <= CATALOGUE.keys()
    for known, order, *places in rows.values():
        assert known is None or known in range(6)
        assert order is None or set(order.split("/")) <= {"SVO", "SOV", "VSO"}
        assert len(places) == 4
        assert set(places) <= {"before", "after", "both", None}
        # None of the orders, or enough for a distance to every other such language.
        assert [order, *places].count(None) in (0, 1, 5)


def test_a_distance_is_the_share_of_orders_that_differ():
    # Verb last, postposition, possessor and adjective before: all but the numeral.
    assert order_distance("es", "hi") == pytest.approx(4 / 5)
    assert order_distance("es", "fr") == 0
    assert order_distance("en", "de") == order_distance("de", "en") == pytest.approx(2 / 5)
    assert order_distance("en", "af") is None
    known = [code for code in CATALOGUE if order_distance(code, code) == 0]
    assert len(known) > 30
    assert all(order_distance(*pair) is not None for pair in combinations(known, 2))


def test_languages_are_related_by_family_script_and_class():
    codes = ("es", "it", "de", "hi", "mr", "ur", "ru", "bg")
    es, it, de, hi, mr, ur, ru, bg = (CATALOGUE[code] for code in codes)
    assert (same_family(es, it), same_family(es, de)) == (1, 0)
    assert (same_script(hi, mr), same_script(hi, ur), same_script(ru, bg)) == (1, 0, 1)
    assert [resource_class(code) for code in ("en", "ru", "tl", "am", "ku")] == [5, 4, 3, 2, None]
    matrix = relation_matrix(("en", "af", "de"), "word order in common", CATALOGUE)
    assert np.isnan(matrix[1]).all()
    assert matrix[0, 2] == pytest.approx(3 / 5)


def test_pairs_are_grouped_by_family_and_script():
    codes = ("hi", "ur", "mr", "en")
    values = np.arange(16.0).reshape(4, 4)
    found = pair_groups(values, codes, CATALOGUE)
    # Both ways: hi and mr have 2 and 8.
    assert found["same family and script"] == (1, 5.0)
    assert found["same family, other script"] == (2, pytest.approx((2.5 + 7.5) / 2))
    assert found["other family, same script"] == (0, None)
    assert found["other family and script"][0] == 3


def test_eight_languages_are_tested_exactly():
    matrix = relation_matrix(BIBLE, "same family", CATALOGUE) + 0.1 * np.eye(8)
    found = related(matrix, BIBLE, CATALOGUE)
    assert found.keys() == RELATIONS.keys()
    count, test = found["same family"]
    assert (count, test.exact, test.permutations) == (8, True, math.factorial(8))
    assert test.correlation == pytest.approx(1)
    # Two Germanic, three Romance: the orders that keep the groups, of all.
    assert test.p == pytest.approx(2 * 6 * 6 / math.factorial(8))


def test_a_language_of_which_a_relation_is_not_known_is_left_out_of_its_test():
    codes = ("en", "af", "de", "hi", "ar")
    matrix = np.random.default_rng(0).random((5, 5))
    found = related(matrix, codes, CATALOGUE)
    assert found["same family"][0] == 5
    kept = [0, 2, 3, 4]
    both = (matrix + matrix.T)[np.ix_(kept, kept)] / 2
    orders = relation_matrix([codes[place] for place in kept], "word order in common", CATALOGUE)
    expected = mantel(both, orders, permutations=24, seed=0)
    assert found["word order in common"] == (4, expected)
    assert not related(matrix[:3, :3], codes[:3], CATALOGUE)


def test_numbers_of_languages_are_correlated_where_both_are_known():
    left = {"en": 1.0, "de": 2.0, "fr": 3.0, "es": 4.0, "it": 9.0}
    right = {"en": 8.0, "de": 6.0, "fr": 4.0, "es": 2.0, "ru": 1.0}
    count, test = correlated(left, right)
    assert (count, test.correlation) == (4, pytest.approx(-1))
    assert test.p == pytest.approx(2 / 24)
    assert correlated(left, {"en": 1.0, "de": 2.0, "fr": 3.0}) is None


def test_a_language_of_unknown_family_or_script_is_of_no_group():
    known = CATALOGUE | {
        "xx": Language("xx", "X", "other", "xxx_Latn"),
        "yy": Language("yy", "Y", "Romance", "yyy"),
    }
    codes = ("es", "it", "xx", "yy")
    found = pair_groups(np.ones((4, 4)), codes, known)
    assert sum(count for count, _ in found.values()) == 1
    family, script = (
        np.isnan(relation_matrix(codes, name, known)) for name in ("same family", "same script")
    )
    assert family.tolist() == [[False, False, True, False]] * 2 + [
        [True] * 4,
        [False, False, True, False],
    ]
    assert script[3].all()
    assert not script[:3, :3].any()
