"""Each probe on a run: what it needs from there, handed to the pure functions that measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nsmt.commands.probe_subject import NO_IDENTIFICATION, NO_MASKS, Subject
from nsmt.data.pivot_join import meanings
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE
from nsmt.models.checkpoint import TrainedModel
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import cumulative
from nsmt.probing import interventions
from nsmt.probing.family import family_overlap
from nsmt.probing.gradients import gradient_products, total
from nsmt.probing.relations import relations, with_pivot
from nsmt.probing.sentences import Sample, places, samples
from nsmt.probing.settings import (
    FamilySettings,
    GradientSettings,
    InterventionSettings,
    StabilitySettings,
    TransferSettings,
)
from nsmt.probing.stability import Percents, stability
from nsmt.probing.summaries import plain_cosines, plain_transfer
from nsmt.probing.transfer import transfer

# Hears of what is being done.
Tell = Callable[[str], object]
_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Found:
    """What a probe found, as plain data, and the systems that it left out, with the reason."""

    result: dict[str, Any]
    skipped: dict[str, str]


def probe_interventions(
    subject: Subject, settings: InterventionSettings, *, tokens: int, tell: Tell
) -> Found:
    """Masks that are not a model's own."""
    if subject.statistics is None:
        return Found({}, {DENSE: NO_IDENTIFICATION})
    skipped = subject.skipped()
    directions = with_pivot(subject.directions, pivot=subject.pivot)
    if not directions:
        return Found({}, {DENSE: f"no direction reads or writes {subject.pivot}"})
    dense = subject.load(DENSE)
    arms = interventions.dense_arms(dense, subject.identified(), subject.statistics, settings)
    if CONTROL in subject.models:
        # What a specialised model has over the dense one may be the further training alone.
        arms[interventions.ARM_CONTINUED] = interventions.Arm(subject.load(CONTROL))
    partners: dict[str, dict[Direction, Direction]] = {}
    method = subject.method
    if method is not None and method in subject.models:
        specialised = subject.load(method)
        if specialised.atlas is None:
            skipped[method] = NO_MASKS
        else:
            specialised.directions = directions
            more, partners = interventions.specialised_arms(
                specialised, subject.corpus.languages, pivot=subject.pivot
            )
            arms |= more
    elif method is None:
        skipped["specialised"] = "the run has no specialised model"
    tables = {each: subject.corpus.table(each, "test") for each in directions}
    nlls = interventions.measured(arms, tables, tokens=tokens, device=subject.device, advance=tell)
    changes = interventions.Changes(
        arms,
        nlls,
        samples=settings.bootstrap_samples,
        seed=settings.seed,
        meanings=meanings(subject.corpus, directions),
    )
    sides = [group for group in subject.groups if group.kind == "side"]
    swaps = [name for name, partner in partners.items() if partner]
    found = interventions.ratios(changes, sides, settings.random_seeds, swaps=swaps)
    result = interventions.plain_changes(changes, arms, subject.groups, settings.random_seeds)
    result["ratios"] = [asdict(ratio) for ratio in found]
    result["partners"] = {
        name: {str(one): str(other) for one, other in partner.items()}
        for name, partner in partners.items()
    }
    return Found(result, skipped)


def probe_gradients(
    subject: Subject, settings: GradientSettings, *, tokens: int, tell: Tell
) -> Found:
    """Cosines between the gradients of directions."""
    if subject.statistics is None:
        return Found({}, {DENSE: NO_IDENTIFICATION})
    text = _samples(subject, settings, tokens=tokens)
    owners, systems = _owners(subject), {}
    for name in subject.models:
        tell(name)
        products = gradient_products(
            subject.load(name), text, owners, memory=int(settings.memory_gib * _BYTES)
        )
        systems[name] = plain_cosines(products, list(text), subject.corpus.languages)
    return Found(_described(subject, text) | {"systems": systems}, subject.skipped())


def probe_transfer(
    subject: Subject, settings: TransferSettings, *, tokens: int, tell: Tell
) -> Found:
    """A step on one direction, measured on all."""
    text = _samples(subject, settings, tokens=tokens)
    systems = {}
    for name in subject.models:
        tell(name)
        trained = subject.load(name)
        products = gradient_products(trained, text, None, memory=int(settings.memory_gib * _BYTES))
        found = transfer(
            trained, text, total(products).dot_TT, relative_step=settings.relative_step
        )
        systems[name] = plain_transfer(found, list(text), subject.corpus.languages)
    described = _described(subject, text) | {"relative_step": settings.relative_step}
    return Found(described | {"systems": systems}, subject.skipped())


def probe_stability(
    subject: Subject, settings: StabilitySettings, *, tokens: int, tell: Tell
) -> Found:
    """Neuron sets of halves and of resampled validation sets, in the dense model."""
    selection, overlap_k = subject.run.selection, subject.run.report.overlap_k
    percents: Percents = {
        f"{selection.k:g} (selection)": lambda task, site: selection.percent(
            task, site, pivot=subject.pivot
        ),
        f"{overlap_k:g} (overlap)": lambda task, site: overlap_k,  # noqa: ARG005 -- one k for all
    }
    corpus = subject.corpus
    waiting = iter(subject.directions)
    found = stability(
        subject.load(DENSE),
        {each: corpus.table(each, "valid") for each in subject.directions},
        {each: places(corpus, each, "valid", purpose="halves") for each in subject.directions},
        percents,
        settings,
        rule=selection.count_rule,
        tokens=tokens,
        device=subject.device,
        advance=lambda: tell(str(next(waiting))),
    )
    return Found({"k": found, "replicas": settings.replicas}, {})


def probe_family(subject: Subject, settings: FamilySettings, *, tokens: int, tell: Tell) -> Found:
    """Overlap within and between families, in the dense model."""
    del tokens
    if subject.statistics is None:
        return Found({}, {DENSE: NO_IDENTIFICATION})
    tell(DENSE)
    k = subject.run.report.overlap_k
    atlas = cumulative(subject.statistics, lambda task, site: k)  # noqa: ARG005 -- one k for all
    languages = subject.corpus.languages
    found = family_overlap(atlas, languages, settings, pivot=subject.pivot)
    return Found(found | {"k": k}, {})


def _samples(
    subject: Subject, settings: GradientSettings, *, tokens: int
) -> dict[Direction, Sample]:
    corpus = subject.corpus
    return samples(
        {each: corpus.table(each, "valid") for each in subject.directions},
        {each: places(corpus, each, "valid", purpose="gradients") for each in subject.directions},
        corpus.vocabulary,
        tokens=settings.tokens,
        positions=tokens,
        device=subject.device,
    )


def _owners(subject: Subject) -> NeuronAtlas:
    """Whose rows are whose, in all models alike: by the specialised model's own masks, if any."""
    method = subject.method
    if method is not None and method in subject.models:
        trained: TrainedModel = subject.load(method)
        if trained.atlas is not None:
            return trained.atlas
    return subject.identified()


def _described(subject: Subject, text: Mapping[Direction, Sample]) -> dict[str, Any]:
    """What matrices are of: directions, the groups that they are drawn in, pairs by relation."""
    languages, directions = subject.corpus.languages, list(text)
    return {
        "directions": [str(each) for each in directions],
        "groups": [_group_of(each, subject) for each in directions],
        "pairs": {name: len(found) for name, found in relations(directions, languages).items()},
        "tokens": next(iter(text.values())).tokens,
    }


def _group_of(direction: Direction, subject: Subject) -> str:
    """The side and the family that a heat map puts a direction with."""
    if subject.pivot not in (direction.source, direction.target):
        return "zero-shot"
    side = "from" if direction.source == subject.pivot else "into"
    return f"{side} {subject.corpus.languages[direction.other(subject.pivot)].family}"
