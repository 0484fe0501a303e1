"""Overlap within and between families against Python sets; the shape bars both ways."""

import itertools

import pytest
import torch

from nsmt.languages import OTHER, Direction, LanguageSettings, LanguageTable
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import Site
from nsmt.probing.family import family_overlap, shape_bars
from nsmt.probing.settings import FamilySettings

SITES = [Site("encoder", 0, 30), Site("encoder", 1, 30), Site("decoder", 0, 30)]
OF_NONE = LanguageSettings(family=OTHER)
FAMILY = {"de": "g", "nl": "g", "fr": "r", "es": "r", "ru": "s"}


@pytest.fixture
def atlas(directions):
    generator = torch.Generator().manual_seed(2)
    masks = {s.name: torch.rand(len(directions), s.width, generator=generator) < 0.5 for s in SITES}
    return NeuronAtlas.from_masks([str(d) for d in directions], SITES, masks)


def test_means_are_those_of_python_sets(atlas, languages):
    found = family_overlap(atlas, languages, FamilySettings(), pivot="en")
    for site in SITES:
        layer = found["stacks"][site.stack]["layers"][site.name]
        values = {True: [], False: []}
        for one, other in itertools.combinations(FAMILY, 2):
            pair = [
                Direction(code, "en") if site.stack == "encoder" else Direction("en", code)
                for code in (one, other)
            ]
            left, right = (
                set(atlas.mask(str(each), site).nonzero()[:, 0].tolist()) for each in pair
            )
            kin = FAMILY[one] == FAMILY[other]
            values[kin].append(len(left & right) / len(left | right))
        assert layer["related"] == pytest.approx(sum(values[True]) / 2)
        assert layer["unrelated"] == pytest.approx(sum(values[False]) / 8)
        assert (layer["related pairs"], layer["unrelated pairs"]) == (2, 8)
        assert layer["all"] == pytest.approx(sum(values[True] + values[False]) / 10)


def test_relatives_with_equal_sets_are_found(directions, languages):
    families = {name: row for row, name in enumerate(dict.fromkeys(FAMILY.values()))}
    masks = torch.zeros(len(directions), 30, dtype=torch.bool)
    for row, direction in enumerate(directions):
        start = 10 * families[FAMILY[direction.other("en")]]
        masks[row, start : start + 10] = True
    atlas = NeuronAtlas.from_masks(
        [str(d) for d in directions], SITES, {site.name: masks for site in SITES}
    )
    found = family_overlap(atlas, languages, FamilySettings(), pivot="en")
    tested = found["stacks"]["decoder"]["mean over layers"]["mantel"]
    assert tested["correlation"] == pytest.approx(1)
    # Of 5! = 120 orders, 8 keep both pairs of relatives together.
    assert tested["exact"]
    assert tested["p"] == pytest.approx(8 / 120)


def test_languages_of_unknown_family_are_in_the_mean_of_all_pairs_alone(atlas, languages):
    """de and es lose their families: of the rest, none are related."""
    unknown = LanguageTable(languages, dict.fromkeys(("de", "es"), OF_NONE))
    known, found = (
        family_overlap(atlas, table, FamilySettings(), pivot="en")["stacks"]["encoder"]["layers"]
        for table in (languages, unknown)
    )
    rest = atlas.select(["nl-en", "fr-en", "ru-en"])
    alone = family_overlap(rest, languages, FamilySettings(), pivot="en")["stacks"]["encoder"]
    for site, layer in found.items():
        assert layer["all"] == known[site]["all"]
        assert (layer["related pairs"], layer["unrelated pairs"]) == (0, 3)
        assert layer["unrelated"] == alone["layers"][site]["unrelated"]
        assert layer["mantel"] == alone["layers"][site]["mantel"]


def test_without_any_family_nothing_is_tested(atlas, languages):
    unknown = LanguageTable(languages, dict.fromkeys(languages, OF_NONE))
    found = family_overlap(atlas, unknown, FamilySettings(), pivot="en")
    layer = found["stacks"]["decoder"]["mean over layers"]
    assert (layer["related"], layer["unrelated"]) == (None, None)
    assert (layer["mantel"]["correlation"], layer["mantel"]["p"]) == (None, None)


@pytest.mark.parametrize(
    ("decoder", "encoder", "expected"),
    [
        ([0.5, 0.4, 0.35], [0.6, 0.5, 0.7], [True, True]),
        ([0.5, 0.2, 0.36], [0.6, 0.9, 0.6], [False, False]),
    ],
)
def test_shape_is_judged_by_first_and_last_layer(decoder, encoder, expected):
    stacks = {
        name: {"layers": {str(n): {"all": value} for n, value in enumerate(values)}}
        for name, values in (("decoder", decoder), ("encoder", encoder))
    }
    assert [each["holds"] for each in shape_bars(stacks)] == expected
