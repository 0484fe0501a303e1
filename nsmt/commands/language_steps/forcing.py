"""Questions in each language, to be answered in each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.deactivating import Deactivation
from nsmt.commands.language_steps.identifying import step_identifier
from nsmt.commands.language_steps.prompting import Prompt
from nsmt.commands.language_steps.subject import Add, Subject, once
from nsmt.data.identification import LanguageIdentifier
from nsmt.evaluation.language_models.forcing import force, questions
from nsmt.languages import Language
from nsmt.settings import Settings
from nsmt.steering.generation import GenerationSettings, Steer
from nsmt.steering.interventions import Change, LanguageNeurons, Program
from nsmt.steering.loading import LanguageModel
from nsmt.steering.steered import steered

ADD: Final = Change(operation="add")


class ForcingSettings(Settings):
    """Questions in each language to be answered in each other."""

    questions: str | None = Field(
        None, description="a YAML file, {language: [question, …]}, before the questions of ours"
    )
    prompt: Prompt = Field("Q: {question} \nA:", description="the released code's")
    deactivate: Deactivation | None = Field(
        Deactivation(value=0.0), description="of the question's language, first"
    )
    activate: Change = Field(ADD, description="of the language wanted")
    generation: GenerationSettings


def forcing_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: ForcingSettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """Answers without and with the intervention, and what the identifier is."""
    languages = subject.languages
    identifier = _identifier(languages, subject.known)
    asked = _questions(settings, languages)

    kept = partial(
        once,
        subject,
        neurons=neurons,
        questions=json.dumps(asked),
        identifier=identifier.signature,
    )

    def measure() -> dict[str, Any]:
        count = sum(map(len, asked.values()))
        task = add("forcing", total=count * (1 + len(languages)))
        tell = partial(bar.advance, task)
        answers = partial(_answers, subject, settings, asked, identifier, tell=tell)
        # Whatever comes after, what is there is not measured again.
        plain = kept(
            "forcing/unchanged",
            settings=settings.model_copy(update={"deactivate": None, "activate": ADD}),
            measure=partial(answers, languages, steer=None),
        )
        steer = partial(_steer, subject.model, neurons, settings)
        forced = []
        for done, wanted in enumerate(languages, start=1):
            bar.update(task, completed=done * count)
            forced += kept(
                f"forcing/{wanted}",
                settings=settings,
                measure=partial(answers, (wanted,), steer=steer),
            )["answers"]
        bar.update(task, completed=(1 + len(languages)) * count)
        return {"identifier": identifier.signature, "plain": plain["answers"], "forced": forced}

    return kept("forcing", settings=settings, measure=measure)


def check_forcing(
    settings: ForcingSettings, languages: Sequence[str], known: Mapping[str, Language]
) -> None:
    """An error before any work: questions, and an identifier, that lack a language."""
    _questions(settings, languages)
    _identifier(languages, known)


def _questions(settings: ForcingSettings, languages: Sequence[str]) -> dict[str, list[str]]:
    return questions(languages, own=Path(settings.questions) if settings.questions else None)


def _identifier(languages: Sequence[str], known: Mapping[str, Language]) -> LanguageIdentifier:
    entries = [known[code] for code in languages]
    return step_identifier("forcing", entries, required=languages)


def _answers(
    subject: Subject,
    settings: ForcingSettings,
    asked: Mapping[str, Sequence[str]],
    identifier: LanguageIdentifier,
    wanted: tuple[str, ...],
    *,
    steer: Callable[[Sequence[tuple[str, str]]], Steer] | None,
    tell: Callable[[int], None],
) -> dict[str, Any]:
    found = force(
        subject.model,
        asked,
        wanted,
        steer=steer,
        identifier=identifier,
        settings=settings.generation,
        prompt=settings.prompt,
        tell=tell,
    )
    return {"answers": [asdict(answer) for answer in found]}


def _steer(
    model: LanguageModel,
    neurons: LanguageNeurons,
    settings: ForcingSettings,
    pairs: Sequence[tuple[str, str]],
) -> Steer:
    def steer(rows: Sequence[int]) -> AbstractContextManager[None]:
        programs = [_program(settings, *pairs[row]) for row in rows]
        # The noise of a batch is its own, whichever batches this process has made before.
        seed = f"{pairs[rows[0]]} {rows[0]}"
        return steered(model.model, model.taps, programs, neurons, seed=seed)

    return steer


def _program(settings: ForcingSettings, asked: str, wanted: str) -> Program:
    """Deactivate first, then add: a neuron of both languages ends at value + mean.

    Where the question's language is the one wanted, all of its neurons are of both.
    """
    activate = settings.activate.of(wanted)
    if settings.deactivate is None:
        return (activate,)
    return settings.deactivate.of(asked), activate
