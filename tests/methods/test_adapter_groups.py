"""Claims about whose adapters a direction trains."""

import pytest

from nsmt.commands.train import check_consistency
from nsmt.errors import AdapterError, ConfigurationError
from nsmt.languages import Direction, LanguageSettings, LanguageTable
from nsmt.methods.adapters import family_groups, pair_groups

LANGUAGES = LanguageTable(("en", "de", "nl", "fr", "he", "ar"))
TRAINED = [Direction.parse(name) for name in ("en-de", "de-en", "en-he", "ar-en", "fr-en")]


def test_pairs_have_a_set_for_each_direction():
    groups = pair_groups(TRAINED)
    assert list(groups) == TRAINED
    assert len(set(groups.values())) == len(TRAINED)


@pytest.mark.parametrize("pivot", ["en", "fr"])
def test_families_are_those_of_the_language_that_is_not_the_pivot(pivot):
    directions = [
        each
        for code in LANGUAGES
        if code != pivot
        for each in (Direction(pivot, code), Direction(code, pivot))
    ]
    groups = family_groups(directions, LANGUAGES, pivot=pivot)
    for direction, family in groups.items():
        assert family == LANGUAGES[direction.other(pivot)].family
        assert family == groups[direction.reverse]


def test_unseen_directions_have_adapters_within_a_family_alone():
    within = Direction("de", "nl")
    assert family_groups([within], LANGUAGES, pivot="en") == {within: "Germanic"}
    with pytest.raises(AdapterError, match="de-fr lies between two families"):
        family_groups([within, Direction("de", "fr")], LANGUAGES, pivot="en")


def test_a_language_of_unknown_family_has_adapters_of_its_own():
    unknown = LanguageSettings(name="unknown")
    table = LanguageTable(("en", "de", "xx", "yy"), {"xx": unknown, "yy": unknown})
    given = [Direction.parse(name) for name in ("en-xx", "xx-en", "en-yy", "de-en")]
    assert list(family_groups(given, table, pivot="en").values()) == ["xx", "xx", "yy", "Germanic"]
    with pytest.raises(AdapterError, match="xx-yy lies between two families"):
        family_groups([Direction("xx", "yy")], table, pivot="en")


def test_a_direction_between_two_families_is_refused_before_anything_is_trained(small_config):
    words = ("data.pairs=[en-de,de-fr]", "method.bottleneck=8")
    with pytest.raises(ConfigurationError, match="de-fr lies between two families"):
        check_consistency(small_config("method=adapter_family", *words))
    check_consistency(small_config("method=adapter_pair", *words))
