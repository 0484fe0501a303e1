"""Claims about the random neurons beside languages': as many, also where several languages are."""

import itertools
from contextlib import nullcontext
from unittest.mock import MagicMock

import pytest
import torch

from nsmt.commands.language_steps import (
    FallbackSettings,
    LensSettings,
    PerplexitySettings,
    fallback,
    lens,
    perplexity,
)
from nsmt.evaluation.arithmetic import random_neurons
from nsmt.languages import CATALOGUE
from nsmt.neurons.language_selection import LanguageSelectionSettings, select_languages
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.steering.generation import GenerationSettings
from nsmt.steering.interventions import LanguageNeurons

LANGUAGES = ("de", "en", "fr")
SITES = (Site("decoder", 0, 200), Site("decoder", 1, 300))
SOME = [some for size in (1, 2, 3) for some in itertools.combinations(LANGUAGES, size)]


@pytest.fixture(scope="module")
def neurons():
    """German and English fire alike."""
    made = ActivationStatistics(LANGUAGES, SITES)
    generator = torch.Generator().manual_seed(1)
    for site in SITES:
        made.units[site.name] += 100
        made.active[site.name] += torch.randint(0, 60, (3, site.width), generator=generator)
        made.active[site.name][1] = made.active[site.name][0]
    atlas = select_languages(made, LanguageSelectionSettings(rate=0.2, percentile=0.5))
    return LanguageNeurons(atlas, made)


def sizes(neurons):
    return {(some, site): int(neurons.members(some, site).sum()) for some in SOME for site in SITES}


def test_the_languages_of_the_example_share_neurons(neurons):
    found = sizes(neurons)
    for site in SITES:
        alone = sum(found[(language,), site] for language in LANGUAGES)
        assert 0 < found[LANGUAGES, site] < alone


def test_the_controls_of_arithmetic_are_as_many_for_any_languages_together(neurons):
    for seed in range(5):
        assert sizes(random_neurons({"decoder": neurons}, seed=seed)["decoder"]) == sizes(neurons)


def test_the_rule_random_has_the_sizes_and_overlaps_of_lape(neurons):
    chosen = LanguageSelectionSettings(rule="random", rate=0.2, percentile=0.5, seed=3)
    atlas = select_languages(neurons.statistics, chosen)
    assert atlas != neurons.atlas
    assert sizes(LanguageNeurons(atlas, neurons.statistics)) == sizes(neurons)


EXCERPT = {"tokens": 8, "context": 8}


@pytest.fixture
def steered_with(neurons, monkeypatch):
    """The other neurons that a step steers with; nothing is done to the model."""

    def found(step):
        seen = []

        def steered(_, __, ___, members, *, seed):
            seen.append(members)
            return nullcontext()

        monkeypatch.setattr(step, "steered", steered)
        return seen

    return found


def assert_as_many(seen, neurons):
    random = [each for each in seen if each.atlas != neurons.atlas]
    assert len(random) >= len(LANGUAGES)
    assert all(sizes(each) == sizes(neurons) for each in random)


@pytest.mark.parametrize("step", [perplexity, lens])
def test_the_random_neurons_of_a_step_are_as_many_for_any_languages_together(
    neurons, steered_with, step
):
    subject = MagicMock(languages=LANGUAGES)
    seen = steered_with(step)
    if step is perplexity:
        for change in perplexity._deactivations(
            subject, neurons, PerplexitySettings(**EXCERPT)
        ).values():
            change()
    else:
        for change in lens._changes(subject, neurons, LensSettings(**EXCERPT)).values():
            for language in LANGUAGES:
                change(language)
    assert_as_many(seen, neurons)


def test_languages_switched_off_together_are_as_many_random_neurons(
    neurons, steered_with, monkeypatch, tmp_path
):
    seen = steered_with(fallback)
    monkeypatch.setattr(
        fallback, "generate", lambda _, prompts, *__, **___: ["Yes."] * len(prompts)
    )
    subject = MagicMock(languages=LANGUAGES, output=tmp_path, known=CATALOGUE)
    subject.key.return_value = {}
    settings = FallbackSettings(generation=GenerationSettings(max_new_tokens=1))
    fallback.fallback_step(subject, neurons, settings, bar=MagicMock(), add=MagicMock())
    assert_as_many(seen, neurons)
