"""What each layer predicts of held-out text, also without the neurons of the text's language."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.deactivating import Deactivation, controls
from nsmt.commands.language_steps.excerpt import ExcerptSettings
from nsmt.commands.language_steps.subject import Add, Subject, held_out, once
from nsmt.evaluation.language_models.lens import lens, vocabulary_scripts
from nsmt.steering.interventions import LanguageNeurons
from nsmt.steering.steered import steered

# Results of before tell the scripts of some tokens otherwise.
_VERSION: Final = "2"


class LensSettings(ExcerptSettings):
    """How much is read, and what is switched off."""

    deactivate: Deactivation | None = Field(
        Deactivation(value=0.0), description="read again without the language's own neurons"
    )
    random_seeds: tuple[int, ...] = Field((1,), description="sets of as many random neurons")


def lens_step(
    subject: Subject, neurons: LanguageNeurons, settings: LensSettings, *, bar: Progress, add: Add
) -> dict[str, Any]:
    """{"scripts", "readings": {change: {language: a `Reading`}}}; changes are "", "own neurons"
    and "random SEED": of the text's own language, switched off."""

    model = subject.model

    def measure() -> dict[str, Any]:
        width = model.model.get_output_embeddings().out_features
        scripts, script_V = vocabulary_scripts(model.tokenizer, width)
        texts = held_out(subject, length=settings.context, limit=settings.tokens)
        changes = _changes(subject, neurons, settings)
        task = add("lens", total=len(changes) * len(texts))
        readings: dict[str, Any] = {}
        for name, change in changes.items():
            readings[name] = {}
            for language, contexts in texts.items():
                bar.update(task, status=f"{name} {language}")
                with change(language):
                    found = lens(model, contexts, script_V, len(scripts), rows=settings.rows)
                readings[name][language] = asdict(found)
                bar.advance(task)
        return {"scripts": scripts, "readings": readings}

    return once(subject, "lens", neurons, settings, measure, version=_VERSION)


def _changes(
    subject: Subject, neurons: LanguageNeurons, settings: LensSettings
) -> dict[str, Callable[[str], AbstractContextManager[None]]]:
    """What is done to the model for text of a language."""
    changes: dict[str, Callable[[str], AbstractContextManager[None]]] = {
        "": lambda _: nullcontext()
    }
    if settings.deactivate is not None:
        off = partial(_off, subject, settings.deactivate)
        changes["own neurons"] = partial(off, neurons, "own neurons")
        for name, random in controls(neurons, settings.random_seeds).items():
            changes[name] = partial(off, random, name)
    return changes


def _off(
    subject: Subject, change: Deactivation, neurons: LanguageNeurons, name: str, language: str
) -> AbstractContextManager[None]:
    model, program = subject.model, (change.of(language),)
    return steered(model.model, model.taps, [program], neurons, seed=f"{name} {language}")
