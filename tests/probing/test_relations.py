"""Neighbours, relatives and swaps go by the names of languages, never by their places."""

import random

import pytest
import torch

from nsmt.languages import Direction, LanguageSettings, LanguageTable
from nsmt.probing.relations import (
    RELATIONS,
    mean_of,
    most_similar,
    neighbours,
    relations,
    swapped,
)

FAMILY = {"en": "g", "de": "g", "nl": "g", "fr": "r", "es": "r", "ru": "s"}
# By family in the corpus's order en de fr nl es ru, without the pivot.
NEXT = {"de": "nl", "nl": "fr", "fr": "es", "es": "ru", "ru": "de"}


@pytest.mark.parametrize("seed", range(5))
def test_the_neighbour_is_the_next_language_by_family_on_the_same_side(directions, languages, seed):
    shuffled = random.Random(seed).sample(directions, len(directions))
    found = neighbours(shuffled, languages, pivot="en")
    assert len(found) == len(directions)
    for one, other in found.items():
        assert (one.source == "en") == (other.source == "en")
        assert other.other("en") == NEXT[one.other("en")]


def test_no_direction_is_the_neighbour_of_two_or_of_itself(directions, languages):
    found = neighbours(directions, languages, pivot="en")
    assert set(found.values()) == set(found)
    assert all(one != other for one, other in found.items())


def test_languages_without_a_direction_on_a_side_are_passed_over(languages):
    given = [Direction.parse(text) for text in ("en-de", "en-es", "ru-en")]
    found = neighbours(given, languages, pivot="en")
    assert {str(one): str(other) for one, other in found.items()} == {
        "en-de": "en-es",
        "en-es": "en-de",
    }


@pytest.mark.parametrize("seed", range(3))
def test_swapped_masks_are_those_of_the_named_partner_at_every_site(
    make_trained, make_atlas, directions, languages, seed
):
    model = make_trained().model
    order = random.Random(seed).sample(directions, len(directions))
    atlas = make_atlas(model, order, seed=seed)
    found = swapped(atlas, neighbours(directions, languages, pivot="en"))
    for direction in directions:
        other = NEXT[direction.other("en")]
        partner = f"en-{other}" if direction.source == "en" else f"{other}-en"
        for site in model.sites:
            assert torch.equal(found.mask(str(direction), site), atlas.mask(partner, site))


def test_two_directions_may_have_the_same_partner(make_trained, make_atlas):
    model = make_trained().model
    atlas = make_atlas(model)
    one, two, three = (Direction.parse(text) for text in ("en-de", "en-nl", "en-fr"))
    found = swapped(atlas, {one: three, two: three})
    for site in model.sites:
        assert torch.equal(found.mask("en-de", site), found.mask("en-nl", site))


def test_the_most_similar_is_that_of_a_search_over_python_sets(
    make_trained, make_atlas, directions, languages
):
    model = make_trained().model
    atlas = make_atlas(model, seed=5)

    def iou(one, other):
        values = []
        for site in model.sites:
            left, right = (
                set(atlas.mask(str(each), site).nonzero()[:, 0].tolist()) for each in (one, other)
            )
            values.append(len(left & right) / len(left | right))
        return sum(values) / len(values)

    found = most_similar(atlas, directions, languages, pivot="en")
    for one in directions:
        others = [d for d in directions if d != one and (d.source == "en") == (one.source == "en")]
        assert iou(one, found[one]) == pytest.approx(max(iou(one, other) for other in others))


def test_relations_are_those_of_a_slow_reading(directions, languages):
    given = [*directions, Direction("de", "fr"), Direction("nl", "es")]
    found = relations(given, languages)
    for i, one in enumerate(given):
        for j in range(i + 1, len(given)):
            other = given[j]
            names = {name for name in RELATIONS if (i, j) in found[name]}
            expected = set()
            if one.source == other.source:
                expected = {"same source"}
                kin = FAMILY[one.target] == FAMILY[other.target]
            elif one.target == other.target:
                expected = {"same target"}
                kin = FAMILY[one.source] == FAMILY[other.source]
            elif not {one.source, one.target} & {other.source, other.target}:
                expected = {"no language shared"}
            if expected & {"same source", "same target"}:
                expected |= {"related" if kin else "unrelated"}
            assert names == expected


def test_two_languages_of_unknown_family_are_neither_related_nor_unrelated():
    unknown = LanguageSettings(name="unknown")
    table = LanguageTable(["en", "de", "xx", "yy"], {"xx": unknown, "yy": unknown})
    given = [Direction("en", code) for code in ("de", "xx", "yy")]
    found = relations(given, table)
    assert found["same source"] == [(0, 1), (0, 2), (1, 2)]
    assert found["related"] == found["unrelated"] == []


def test_means_leave_out_what_is_not_defined():
    nan = torch.nan
    matrix = torch.tensor([[1, 2, nan], [4, 1, nan], [nan, 5, 1]])
    assert mean_of(matrix, [(0, 1), (0, 2), (1, 2)]) == (4.0, 2)
    assert mean_of(matrix, [(0, 2)]) == (None, 0)
    assert mean_of(matrix, []) == (None, 0)


def test_one_language_has_no_neighbour():
    table = LanguageTable(["en", "de"])
    assert neighbours([Direction("en", "de"), Direction("de", "en")], table, pivot="en") == {}
