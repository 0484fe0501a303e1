"""Claims about the noise of interventions: each site, seed and part of a step has its own."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from language_models import statistics_of
from torch import nn

from nsmt.commands import arithmetic
from nsmt.commands.language_steps import fallback, forcing, lens, perplexity, tasks
from nsmt.commands.language_steps.deactivating import Deactivation
from nsmt.commands.zero_shot import Translated
from nsmt.evaluation.arithmetic import ArithmeticSettings, NamedProgram, arms
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import Site
from nsmt.neurons.taps import Tap
from nsmt.steering.generation import DecodingSettings, GenerationSettings
from nsmt.steering.interventions import Change, Intervention, LanguageNeurons
from nsmt.steering.steered import steered

WIDTH = 24
LANGUAGES = ("de", "en", "fr")
MODEL = nn.Sequential(nn.Identity(), nn.Identity(), nn.Identity())
SITES = (Site("encoder", 0, WIDTH), Site("decoder", 0, WIDTH), Site("decoder", 1, WIDTH))
TAPS = {site: Tap(module, module) for site, module in zip(SITES, MODEL, strict=True)}
STATISTICS = statistics_of(TAPS)
NEURONS = LanguageNeurons(
    NeuronAtlas.from_masks(
        LANGUAGES, SITES, {site.name: torch.ones(3, WIDTH, dtype=torch.bool) for site in SITES}
    ),
    STATISTICS,
)
NOISE = Deactivation(operation="noise", value=1.0)


def drawn(change):
    """The noise at each site while a change is made, in deviations."""
    with change:
        noise = [module(torch.zeros(1, 5, WIDTH)) for module in MODEL]
    return [n / NEURONS.pooled_deviation(s) for n, s in zip(noise, SITES, strict=True)]


def all_differ(noises):
    return not any(torch.allclose(one, other, atol=1e-3) for one, other in combinations(noises, 2))


def test_each_site_and_seed_draws_by_itself_and_the_same_again():
    program = (Intervention(operation="noise", languages=("en",), value=1.0),)
    first, again = (
        [
            noise
            for seed in (0, 1, "0/more")
            for noise in drawn(steered(MODEL, TAPS, [program], NEURONS, seed=seed))
        ]
        for _ in range(2)
    )
    # Layer 0 of seed 1 is not layer 1 of seed 0, nor the decoder's layer that of the encoder.
    assert all_differ(first)
    assert all(map(torch.equal, first, again))


@pytest.fixture
def subject(monkeypatch):
    """Controls that are the neurons themselves, so that noise alone tells them apart."""
    monkeypatch.setattr(LanguageNeurons, "permuted", lambda own, **_: own)
    return SimpleNamespace(
        model=SimpleNamespace(model=MODEL, taps=TAPS), languages=LANGUAGES, known={}
    )


def test_changes_that_are_compared_have_noise_of_their_own(subject):
    options = {"tokens": 8, "context": 8, "deactivate": NOISE, "random_seeds": (1, 2)}
    changes = perplexity._deactivations(subject, NEURONS, perplexity.PerplexitySettings(**options))
    found = [drawn(change())[0] for name, change in changes.items() if name]
    assert len(found) == 9
    assert all_differ(found)
    read = lens._changes(subject, NEURONS, lens.LensSettings(**options))
    found = [drawn(change(code))[0] for name, change in read.items() if name for code in LANGUAGES]
    assert len(found) == 9
    assert all_differ(found)


def test_batches_of_forcing_have_noise_of_their_own_in_any_order(subject):
    settings = forcing.ForcingSettings(
        deactivate=None, activate=NOISE, generation=GenerationSettings()
    )
    steer, again = (
        forcing._steer(subject.model, NEURONS, settings, [("de", "en")] * 4) for _ in range(2)
    )
    other = forcing._steer(subject.model, NEURONS, settings, [("de", "fr")] * 4)
    found = [drawn(each)[0] for each in (steer([0]), steer([2]), other([0]))]
    assert all_differ(found)
    # As after a start in which the first batch is not made again.
    assert torch.equal(drawn(again([2]))[0], found[1])


def test_answers_of_each_part_have_noise_of_their_own(subject, monkeypatch):
    found = []

    def generate(_model, prompts, *_, **__):
        found.append(MODEL(torch.zeros(1, 5, WIDTH)))
        return ["" for _ in prompts]

    for step in (fallback, tasks):
        monkeypatch.setattr(step, "generate", generate)
    monkeypatch.setattr(fallback, "once", lambda *given, **_: given[4]())
    settings = fallback.FallbackSettings(deactivate=NOISE, generation=GenerationSettings())
    for name in ("own", "random-1", "random-2"):
        for off in (("en",), ("en", "de")):
            fallback._answers(
                subject, settings, ["a?"], NEURONS, name, NEURONS, off, tell=lambda _: None
            )
    options = {"activate": Change(operation="noise", value=1.0)}
    settings = tasks.TasksSettings(generation=DecodingSettings(), **options)
    some = [tasks.Example("a", ("entailment",))]
    for language in ("de", "fr"):
        tasks._task(subject, NEURONS, settings, "inference", language, some)
    noises = [each for each in found if each.any()]
    assert (len(found), len(noises)) == (14, 12)
    assert all_differ(noises)


def test_arms_of_translation_have_noise_of_their_own_which_decides_what_is_kept(monkeypatch):
    told = []
    monkeypatch.setattr(arithmetic, "translated", lambda *_, **more: told.append(more) or {})
    plain = SimpleNamespace(name="dense", trained=None)
    monkeypatch.setattr(arithmetic, "variants", lambda *_, **__: iter([plain]))
    noise = {"operation": "noise", "value": 1.0, "of": ("target",)}
    settings = ArithmeticSettings(
        kind="arithmetic",
        programs=(
            NamedProgram(name="noise", steps=(noise,)),
            NamedProgram(name="add", steps=({"operation": "add", "of": ("target",)},)),
        ),
        random_seeds=(1, 2),
    )
    arithmetic._translated(
        SimpleNamespace(corpus=SimpleNamespace(pivot="en"), into=Path(), config=None),
        settings,
        None,
        list(arms(settings)),
        {},
        SimpleNamespace(texts={}),
        Translated(None),
    )
    names = [arm.name for arm in arms(settings)]
    assert [each["steering"].seed for each in told[1:]] == names
    noisy = [each["steered_by"].get("noise") for each in told[1:]]
    assert noisy == [name if "noise" in name else None for name in names]
