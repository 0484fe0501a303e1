"""Tasks in each language, as the model is and with each language activated."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.subject import Add, Subject, once
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.language_models.tasks import (
    TASKS,
    Example,
    MissingLanguageError,
    TaskName,
)
from nsmt.evaluation.language_models.tasks_hub import HubSets, hub_examples
from nsmt.languages import CATALOGUE
from nsmt.settings import Count, Settings
from nsmt.steering.generation import DecodingSettings, GenerationSettings, generate
from nsmt.steering.interventions import Change, LanguageNeurons
from nsmt.steering.steered import steered

_LOG = logging.getLogger(__name__)
# By task, by the language that it is tested in.
Examples = dict[TaskName, dict[str, list[Example]]]


class DecisiveSettings(Settings):
    """What decides scores beside the examples, wherever these come from."""

    names: tuple[TaskName, ...] = tuple(TASKS)
    languages: tuple[str, ...] | None = Field(
        None, description="tested in, with neurons or without; null: those of `languages`"
    )
    examples: Count | None = Field(None, description="the first of each task; null: all")
    activate: Change = Field(Change(operation="add"), description="of each language in turn")
    generation: DecodingSettings = Field(description="how long answers may be is the task's own")


class TasksSettings(DecisiveSettings):
    """Tasks in each language, with each language activated."""

    source: Literal["files", "hub"] = "files"
    folder: str = Field("tasks", description="with data as nsmt.evaluation.language_models.tasks")
    hub: HubSets = HubSets()

    def decisive(self, **changes: object) -> DecisiveSettings:
        """Those settings alone, with some changes."""
        own = {name: getattr(self, name) for name in DecisiveSettings.model_fields}
        return DecisiveSettings.model_validate(own | changes)


def tasks_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: TasksSettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """Scores and signatures, and languages that a set lacks.

    "scores": {task: {language of the task: {language activated, "" for none: {metric: score}}}};
    "signatures": {task: {language of the task: {metric: signature}}};
    "lacking": {task: languages that were to be tested}.
    """
    examples, lacking = _examples(settings, subject.languages)
    signatures = _signatures(settings, examples)

    def measure() -> dict[str, Any]:
        task = add("tasks", total=sum(map(len, examples.values())))
        scores: dict[str, Any] = {}
        for name, of_language in examples.items():
            scores[name] = {}
            for language, some in of_language.items():
                bar.update(task, status=f"{name} in {language}")
                # Whatever else is tested, this is not measured again.
                scores[name][language] = once(
                    subject,
                    f"tasks/{name}-{language}",
                    neurons,
                    settings.decisive(names=(name,), languages=(language,)),
                    partial(_task, subject, neurons, settings, name, language, some),
                    examples=_digest(some),
                    signatures=json.dumps(signatures[name][language]),
                )
                bar.advance(task)
        return {"scores": scores, "signatures": signatures, "lacking": lacking}

    return once(
        subject,
        "tasks",
        neurons,
        settings.decisive(),
        measure,
        examples=_digest(examples),
        signatures=json.dumps(signatures),
    )


def check_tasks(settings: TasksSettings, languages: Sequence[str]) -> None:
    """An error before any work: sets that cannot be read, languages that the catalogue lacks.

    What a set lacks is logged.
    """
    if unknown := [code for code in settings.languages or languages if code not in CATALOGUE]:
        raise ConfigurationError(
            f"tasks.languages: {', '.join(unknown)} is not in the catalogue",
            fix=f"name in tasks.languages some of {', '.join(sorted(CATALOGUE))}",
        )
    examples, lacking = _examples(settings, languages)
    _signatures(settings, examples)
    for name, missing in lacking.items():
        _LOG.warning("%s is left out in %s: its set has none", name, ", ".join(missing))


def _examples(
    settings: TasksSettings, languages: Sequence[str]
) -> tuple[Examples, dict[str, list[str]]]:
    """What is tested, and which languages a set lacks; a DataError if it lacks all."""
    found: Examples = {}
    where = "folder" if settings.source == "files" else "hub"
    lacking: dict[str, list[str]] = {}
    for name in settings.names:
        found[name], missing, said = {}, [], ""
        for language in settings.languages or languages:
            # Nothing is translated out of English into English.
            if (name, language) == ("translation", "en"):
                continue
            try:
                some = _read(settings, name, language)
            except MissingLanguageError as error:
                missing.append(language)
                said = f": {error.problem}"
            else:
                if not some:
                    raise DataError(
                        f"{name} has no example in '{language}'",
                        fix=f"correct tasks.{where}, or leave {name} out of tasks.names",
                    )
                found[name][language] = some[: settings.examples]
        if not found[name]:
            raise DataError(
                f"{name} cannot be tested in any of {', '.join(settings.languages or languages)}"
                f"{said}",
                fix=f"name languages of its set in tasks.languages, correct where tasks.{where} "
                f"says that it is, or leave {name} out of tasks.names",
            )
        if missing:
            lacking[name] = missing
    return found, lacking


def _read(settings: TasksSettings, name: TaskName, language: str) -> list[Example]:
    if settings.source == "hub":
        return hub_examples(name, settings.hub, language)
    return TASKS[name].read(Path(settings.folder), language)


def _signatures(
    settings: TasksSettings, examples: Examples
) -> dict[str, dict[str, dict[str, str]]]:
    folder = Path(settings.folder) if settings.source == "files" else None
    return {
        name: {language: TASKS[name].signatures(language, folder) for language in of_language}
        for name, of_language in examples.items()
    }


def _digest(examples: object) -> str:
    return hashlib.sha256(json.dumps(examples, default=asdict).encode()).hexdigest()


def _task(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: TasksSettings,
    name: TaskName,
    language: str,
    examples: Sequence[Example],
) -> dict[str, dict[str, float]]:
    task, model = TASKS[name], subject.model
    generation = GenerationSettings(
        max_new_tokens=task.max_new_tokens, **settings.generation.model_dump()
    )
    found = {}
    for activated in ("", *subject.languages):
        program = (settings.activate.of(activated),) if activated else ()
        seed = f"{name} {language} {activated}"
        with steered(model.model, model.taps, [program], neurons, seed=seed):
            texts = generate(
                model, [each.prompt for each in examples], generation, stops=task.stops
            )
        found[activated] = task.score(texts, examples, language)
    return found
