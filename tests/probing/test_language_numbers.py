"""What was measured of languages, as matrices and numbers, and what goes with what."""

import json

import numpy as np
import pytest
import torch
from language_models import statistics_of
from made_language_results import CODES, SITES, made_neurons, made_results

from nsmt.languages import CATALOGUE
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.probing.language_matrices import harm, own_and_other_harm, success, token_means
from nsmt.probing.language_numbers import (
    language_relations,
    measures,
    pair_matrices,
    properties,
)
from nsmt.probing.language_relations import correlated, pair_groups, related
from nsmt.steering.interventions import LanguageNeurons


@pytest.fixture
def neurons():
    return made_neurons()


@pytest.fixture
def results():
    return made_results()


def test_languages_without_neurons_have_the_overlap_of_equal_sets():
    none = {site.name: torch.zeros(4, 4).bool() for site in SITES}
    atlas = NeuronAtlas.from_masks(CODES, SITES, none)
    found = pair_matrices(LanguageNeurons(atlas, statistics_of(SITES, CODES)), {})
    np.testing.assert_array_equal(found["IoU of neurons"], np.ones((4, 4)))


def test_harm_is_what_switching_off_adds(results):
    found = harm(token_means(results["perplexity"]), CODES)
    assert found[0].tolist() == [1.0, 0.5, 1.0, 1.5]
    assert found.diagonal().tolist() == [1.0, 1.5, 2.0, 2.5]


def test_numbers_of_languages_are_the_models_and_the_worlds(neurons, results):
    measured, known = measures(neurons, results), properties(CODES, results, CATALOGUE)
    assert measured["neurons"] == dict.fromkeys(CODES, 4.0)
    assert measured["harm to itself"]["hi"] == 2.0
    # Every answer is Hindi: the share of the other languages' questions.
    assert measured["forced into"] == {"en": 0.0, "de": 0.0, "hi": 1.0, "ur": 0.0}
    assert known["resource class"] == {"en": 5.0, "de": 5.0, "hi": 4.0, "ur": 3.0}
    assert known["tokens a character"]["ur"] == 1.0
    assert known["nats a character"]["de"] == pytest.approx(5 * 0.5)
    # All five orders are Urdu's; those of adjective and numeral are German's and English's.
    assert known["word order in common"]["hi"] == pytest.approx((2 / 5 + 2 / 5 + 1) / 3)


def test_what_was_not_measured_is_left_out(neurons):
    assert list(pair_matrices(neurons, {})) == ["IoU of neurons"]
    assert list(measures(neurons, {})) == ["neurons"]
    assert "nats a character" not in properties(CODES, {}, CATALOGUE)
    assert list(language_relations(neurons, {}, CATALOGUE)["pairs"]) == ["IoU of neurons"]


def test_harm_to_others_is_the_mean_over_them(results):
    means = token_means(results["perplexity"])
    own, others = own_and_other_harm(means, CODES)
    for place, off in enumerate(CODES):
        added = {on: means[off][on] - means[""][on] for on in CODES}
        assert own[place] == pytest.approx(added.pop(off))
        assert others[place] == pytest.approx(sum(added.values()) / 3)


def test_success_is_the_share_of_answers_in_the_language_wanted():
    answers = [
        {"asked": "en", "wanted": wanted, "came": came}
        for wanted, came in (("en", "en"), ("en", "de"), ("de", "de"), ("de", "de"))
    ] + [{"asked": "de", "wanted": wanted, "came": "en"} for wanted in ("en", "de")]
    assert success(answers, ["en", "de"]).tolist() == [[0.5, 1.0], [1.0, 0.0]]


def test_relations_are_plain_data_of_the_tests_themselves(neurons, results):
    found = json.loads(json.dumps(language_relations(neurons, results, CATALOGUE), allow_nan=False))
    matrices = pair_matrices(neurons, results)
    assert list(found["pairs"]) == list(matrices)
    for name, matrix in matrices.items():
        for group, (count, mean) in pair_groups(matrix, CODES, CATALOGUE).items():
            assert found["pairs"][name][group] == {"pairs": count, "mean": mean}
        for relation, (count, test) in related(matrix, CODES, CATALOGUE).items():
            (one,) = (
                each
                for each in found["relations"]
                if (each["of"], each["against"]) == (name, relation)
            )
            assert (one["languages"], one["correlation"], one["p"]) == (
                count,
                test.correlation,
                test.p,
            )
    for each in found["correlations"]:
        left, right = found["measured"][each["of"]], found["known"][each["against"]]
        count, test = correlated(left, right)
        assert (each["languages"], each["correlation"], each["p"]) == (
            count,
            test.correlation,
            test.p,
        )
