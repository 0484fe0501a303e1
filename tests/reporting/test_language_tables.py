"""Claims about the tables of language models' results, on results made up for them."""

import numpy as np
import pytest
from made_language_results import CODES, made_neurons, made_results

from nsmt.languages import CATALOGUE
from nsmt.neurons.overlap import whole_iou
from nsmt.probing.language_numbers import language_relations
from nsmt.reporting.language_fallback import fallback_figures, fallback_tables
from nsmt.reporting.language_lens import lens_figures, lens_tables
from nsmt.reporting.language_neurons import overlap_figure
from nsmt.reporting.language_relations import relation_tables
from nsmt.reporting.language_results import forcing_tables, task_figures, task_tables


@pytest.fixture
def neurons():
    return made_neurons()


@pytest.fixture
def results():
    return made_results()


def row_of(table, *labels):
    (row,) = (row for row in table.rows if tuple(row[: len(labels)]) == labels)
    return row[len(labels) :]


def test_figures_show_languages_by_family_whatever_the_order_of_the_atlas(neurons):
    atlas = neurons.atlas.select(["en", "hi", "de", "ur"])
    axes = overlap_figure(atlas, CATALOGUE).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["en", "de", "hi", "ur"]
    np.testing.assert_array_equal(axes.images[0].get_array(), whole_iou(neurons.atlas))


def test_pairs_tests_and_correlations_are_tables(neurons, results):
    tables = relation_tables(language_relations(neurons, results, CATALOGUE), CODES)
    count, overlap, hurt, _ = row_of(tables["families"], "same family, other script")
    assert count == "1"
    assert overlap == f"{3 / 5:.3f}"
    # Hindi on Urdu 1.5, Urdu on Hindi 1.
    assert hurt == "1.250"
    languages, rho, p = row_of(tables["relations"], "IoU of neurons", "same family")
    assert (languages, rho[0]) == ("4", "+")
    assert 0 < float(p) <= 1
    assert row_of(tables["correlations"], "harm to itself", "tokens a character")[1] == "+1.00"
    assert row_of(tables["resources"], "hi")[:4] == ["4", "2.000", "1.000", "4"]
    # All languages have as many neurons: nothing to correlate.
    assert row_of(tables["correlations"], "neurons", "resource class")[1:] == ["–", "–"]


@pytest.fixture
def readings():
    def reading(nll):
        return {
            "tokens": 10,
            "nll": [2 * nll, nll],
            "agreed": [4, 10],
            "shares": [[9.0, 1.0, 0.0], [2.0, 7.9, 0.1]],
            "text": [3, 7, 0],
        }

    return {
        "scripts": ["Latin", "Devanagari", "Han"],
        "readings": {
            "": {"en": reading(20.0), "hi": reading(30.0)},
            "own neurons": {"en": reading(25.0), "hi": reading(45.0)},
        },
    }


def test_the_lens_is_told_by_layer_change_and_script(readings):
    tables = lens_tables(readings, ["en", "hi"])
    assert row_of(tables["lens"], "1") == ["4.00", "6.00"]
    assert row_of(tables["lens-agreement"], "1") == ["40", "40"]
    assert row_of(tables["lens-changes"], "own neurons") == ["+0.500", "+1.500"]
    assert row_of(tables["lens-scripts"], "Latin", "layer 1") == ["90", "90"]
    assert row_of(tables["lens-scripts"], "Devanagari", "the text") == ["70", "70"]
    # A script that hardly occurs is not shown.
    assert not [row for row in tables["lens-scripts"].rows if row[0] == "Han"]
    assert lens_figures(readings, ["en", "hi"]).keys() == {
        "lens",
        "lens-agreement",
        "lens-scripts",
    }


def test_fallback_is_told_by_what_is_off():
    levels = [
        {"off": [], "came": ["en", "en", "en", "en"]},
        {"off": ["en"], "came": ["de", "fi", "", "en"]},
    ]
    found = {"identifier": "made up", "asked": "en", "levels": {"": levels, "random 1": levels}}
    (table,) = fallback_tables(found, ["en", "de"]).values()
    assert row_of(table, "language neurons", "nothing") == ["100", "0", "0", "0"]
    assert row_of(table, "random 1", "+ en") == ["25", "25", "25", "25"]
    figure = fallback_figures(found, ["en", "de"])["fallback"]
    shown = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(shown[0], [[1, 0, 0, 0], [0.25] * 4])


def test_tasks_are_told_as_changes_with_the_signatures_of_their_languages():
    of_activated = {"": {"bleu": 10.0}, "en": {"bleu": 9.0}, "de": {"bleu": 12.5}}
    scores = {"de": of_activated, "hi": of_activated}
    found = {
        "scores": {"translation": scores},
        "signatures": {"translation": {"de": {"bleu": "tok:13a"}, "hi": {"bleu": "tok:13a"}}},
        "lacking": {"translation": ["fr"]},
    }
    (table,) = task_tables(found, ["en", "de"]).values()
    assert row_of(table, "hi") == ["10.0", "-1.0", "+2.5"]
    assert table.notes[-2:] == ["The set has no fr.", "de, hi: tok:13a"]
    (figure,) = task_figures(found, ["en", "de"], CATALOGUE).values()
    axes = figure.axes[0]
    # Hindi has no neurons, English was not tested.
    assert [label.get_text() for label in axes.get_yticklabels()] == ["en", "de", "hi"]
    shown = axes.images[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(shown, [[np.nan] * 3, [-1, 2.5, np.nan], [-1, 2.5, np.nan]])


def test_forcing_is_told_for_other_languages_the_questions_own_and_any():
    """Every answer is English, and under intervention what was wanted but for German."""

    def answers(came):
        return [
            {"asked": asked, "wanted": wanted, "came": came(wanted)}
            for asked in ("en", "de")
            for wanted in ("en", "de")
        ]

    found = {
        "identifier": "made up",
        "plain": answers(lambda _: "en"),
        "forced": answers(lambda wanted: "hi" if wanted == "de" else wanted),
    }
    table = forcing_tables(found, ["en", "de"])["forcing"]
    rows = {name: row_of(table, name) for name in ("another language", "the question's own", "any")}
    assert all(shares == ["50.0", "50.0"] for shares in rows.values())
