"""Tasks in each language, as the model is and with each language activated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.activating import ActivatingSettings
from nsmt.commands.language_steps.subject import Add, Count, Subject, once
from nsmt.evaluation.language_models.tasks import TASKS, Example, TaskName
from nsmt.steering.generation import GenerationSettings, generate
from nsmt.steering.interventions import LanguageNeurons
from nsmt.steering.steered import steered


class TasksSettings(ActivatingSettings):
    """Tasks in each language, with each language activated."""

    names: tuple[TaskName, ...] = tuple(TASKS)
    folder: str = Field("tasks", description="with data as nsmt.evaluation.language_models.tasks")
    examples: Count | None = Field(None, description="the first of each task; null: all")
    generation: GenerationSettings


def tasks_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: TasksSettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """Scores and signatures.

    "scores": {task: {language of the task: {language activated, "" for none: {metric: score}}}};
    "signatures": {task: {language of the task: {metric: signature}}}.
    """

    examples = {
        name: {
            language: TASKS[name].read(Path(settings.folder), language)[: settings.examples]
            for language in subject.languages
            # Nothing is translated out of English into English.
            if (name, language) != ("translation", "en")
        }
        for name in settings.names
    }

    def measure() -> dict[str, Any]:
        task = add("tasks", total=sum(map(len, examples.values())))
        found: dict[str, Any] = {}
        for name, of_language in examples.items():
            found[name] = {}
            for language, some in of_language.items():
                bar.update(task, advance=1, status=f"{name} in {language}")
                found[name][language] = _task(subject, neurons, settings, name, language, some)
        return {"scores": found, "signatures": signatures}

    signatures = {
        name: {language: TASKS[name].signatures(language) for language in of_language}
        for name, of_language in examples.items()
    }
    asked = json.dumps(examples, default=asdict).encode()
    return once(
        subject,
        "tasks",
        neurons,
        settings,
        measure,
        examples=hashlib.sha256(asked).hexdigest(),
        signatures=json.dumps(signatures),
    )


def _task(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: TasksSettings,
    name: TaskName,
    language: str,
    examples: Sequence[Example],
) -> dict[str, dict[str, float]]:
    task, model = TASKS[name], subject.model
    generation = settings.generation.model_copy(update={"max_new_tokens": task.max_new_tokens})
    found = {}
    for activated in ("", *subject.languages):
        program = (settings.activation(activated),) if activated else ()
        with steered(model.model, model.taps, [program], neurons):
            texts = generate(
                model, [each.prompt for each in examples], generation, stops=task.stops
            )
        found[activated] = task.score(texts, examples, language)
    return found
