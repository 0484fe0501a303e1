import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsmt.errors import ConfigurationError
from nsmt.evaluation.groups import groups_of, pivot_directions, table_order, tier_columns
from nsmt.languages import Direction, LanguageSettings, LanguageTable, both_ways

LANGUAGES = LanguageTable(
    ["de", "ar", "nl", "he", "en"],
    {
        code: LanguageSettings(tier=tier)
        for code, tier in {"de": "High", "ar": "High", "nl": "Low", "he": "Low"}.items()
    },
)


def parse(*names):
    return [Direction.parse(name) for name in names]


def test_groups_come_in_table_order_and_zero_shot_stays_apart():
    found = groups_of(
        parse("he-en", "en-de", "de-en", "en-nl", "nl-en", "en-ar", "nl-ar"), LANGUAGES, pivot="en"
    )
    assert {g.name: [str(d) for d in g.directions] for g in found} == {
        "All": ["en-de", "en-nl", "en-ar", "de-en", "nl-en", "he-en"],
        "O2M": ["en-de", "en-nl", "en-ar"],
        "M2O": ["de-en", "nl-en", "he-en"],
        "High": ["en-de", "en-ar", "de-en"],
        "Low": ["en-nl", "nl-en", "he-en"],
        "Germanic": ["en-de", "en-nl", "de-en", "nl-en"],
        "Afro-Asiatic": ["en-ar", "he-en"],
        "Zero-shot": ["nl-ar"],
    }
    assert [found[0].kind, found[-1].kind] == ["all", "zero-shot"]


def test_pivot_need_not_be_english_and_tiers_need_not_exist():
    table = LanguageTable(["fr", "es", "tr"])
    found = groups_of(both_ways(parse("fr-tr", "es-tr")), table, pivot="tr")
    assert [g.name for g in found] == ["All", "O2M", "M2O", "Romance"]
    assert [str(d) for d in found[1].directions] == ["tr-fr", "tr-es"]


def test_columns_of_table_2_are_tiers_and_all_by_side():
    columns = tier_columns(pivot_directions(LANGUAGES, pivot="en"), LANGUAGES, pivot="en")
    assert [(c.block, c.side) for c in columns] == [
        (block, side) for block in ("High", "Low", "All") for side in ("O2M", "M2O", "Avg")
    ]
    assert [str(d) for d in columns[0].directions] == ["en-de", "en-ar"]
    assert len(columns[-1].directions) == 8


def test_tiers_come_from_the_most_text_to_the_least_whichever_language_is_first():
    tiers = {"ar": "Med", "de": "High", "es": "Tiny", "fa": "Low", "en": "Pivot"}
    table = LanguageTable(
        list(tiers), {code: LanguageSettings(tier=tier) for code, tier in tiers.items()}
    )
    directions = pivot_directions(table, pivot="en")
    assert [c.block for c in tier_columns(directions, table, pivot="en")[::3]] == [
        "High",
        "Med",
        "Low",
        "Tiny",
        "All",
    ]
    groups = groups_of(directions, table, pivot="en")
    assert [g.name for g in groups if g.kind == "tier"] == ["High", "Med", "Low", "Tiny"]


def test_language_unknown_to_the_table_is_named():
    with pytest.raises(ConfigurationError, match="known of tr"):
        table_order(parse("en-tr"), LANGUAGES, pivot="en")


@given(st.lists(st.sampled_from(list(LANGUAGES)), min_size=2, unique=True), st.data())
def test_every_direction_is_in_all_or_in_zero_shot_exactly_once(codes, data):
    pairs = [Direction(a, b) for a in codes for b in codes if a != b]
    chosen = data.draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    groups = {g.name: g.directions for g in groups_of(chosen, LANGUAGES, pivot="en")}
    both = groups.get("All", ()) + groups.get("Zero-shot", ())
    assert sorted(both) == sorted(chosen)
    assert groups.get("O2M", ()) + groups.get("M2O", ()) == groups.get("All", ())
