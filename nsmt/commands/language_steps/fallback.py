"""Languages switched off one after the other, and the language of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.deactivating import Deactivation, controls
from nsmt.commands.language_steps.identifying import step_identifier
from nsmt.commands.language_steps.prompting import Prompt
from nsmt.commands.language_steps.subject import Add, Subject, once
from nsmt.data.identification import LanguageIdentifier
from nsmt.data.sources.lines import read_lines
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.language_models.fallback import Level, Order, fall_back
from nsmt.evaluation.language_models.forcing import QUESTION, STOPS, questions
from nsmt.languages import Language
from nsmt.settings import Settings
from nsmt.steering.generation import GenerationSettings, generate
from nsmt.steering.interventions import LanguageNeurons, Program
from nsmt.steering.steered import steered


class FallbackSettings(Settings):
    """Cumulative deactivation, under questions in one language."""

    asked: str = Field("en", description="the questions' language")
    questions: str | None = Field(None, description="a file, one a line; null: those of forcing")
    prompt: Prompt = Field("Q: {question}A: ", description="the released code's")
    order: Order = "released"
    deactivate: Deactivation = Deactivation(value=-1.5)
    random_seeds: tuple[int, ...] = Field((1,), description="sets of as many random neurons")
    generation: GenerationSettings


def fallback_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: FallbackSettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """{"identifier", "asked", "levels": {"" or "random SEED": the levels, nothing off first}}."""
    asked, identifier = _questions(settings), _identifier(subject.languages, subject.known)

    def measure() -> dict[str, Any]:
        languages, seeds = subject.languages, settings.random_seeds
        task = add("fallback", total=(1 + len(seeds)) * (1 + len(languages)) * len(asked))
        tell = partial(bar.advance, task)
        answers = partial(_answers, subject, settings, asked, neurons, tell=tell)
        levels: list[Level] = fall_back(
            partial(answers, "own", neurons),
            languages,
            identifier,
            asked=settings.asked,
            order=settings.order,
        )
        found = {"": levels}
        for name, random in controls(neurons, seeds).items():
            # The same languages in the same order, whatever comes.
            found[name] = fall_back(
                partial(answers, name.replace(" ", "-"), random),
                levels[-1].off,
                identifier,
                asked=settings.asked,
                order="listed",
            )
        return {
            "identifier": identifier.signature,
            "asked": settings.asked,
            "levels": {name: [asdict(each) for each in some] for name, some in found.items()},
        }

    return once(
        subject,
        "fallback",
        neurons,
        settings,
        measure,
        questions="\n".join(asked),
        identifier=identifier.signature,
    )


def check_fallback(
    settings: FallbackSettings, languages: Sequence[str], known: Mapping[str, Language]
) -> None:
    """An error before any work: questions in no language here, or an identifier that lacks one."""
    if settings.asked not in languages:
        raise ConfigurationError(
            f"fallback.asked: '{settings.asked}' is none of the languages",
            fix=f"ask in one of {', '.join(languages)}",
        )
    _questions(settings)
    _identifier(languages, known)


def _identifier(languages: Sequence[str], known: Mapping[str, Language]) -> LanguageIdentifier:
    # Among all that can be told apart: what comes may be none of the model's languages here.
    return step_identifier("fallback", known.values(), required=languages)


def _questions(settings: FallbackSettings) -> list[str]:
    if settings.questions is None:
        return questions([settings.asked])[settings.asked]
    try:
        lines = list(read_lines(Path(settings.questions)))
    except DataError as error:
        raise DataError(error.problem, fix="correct fallback.questions") from None
    # A mark of the byte order is no text.
    bare = (line.removeprefix("\ufeff").strip() for line in lines)
    if not (found := [line for line in bare if line]):
        raise DataError(f"{settings.questions} is empty", fix="write one question a line")
    return found


def _answers(
    subject: Subject,
    settings: FallbackSettings,
    asked: list[str],
    own: LanguageNeurons,
    name: str,
    neurons: LanguageNeurons,
    off: tuple[str, ...],
    *,
    tell: Callable[[int], None],
) -> list[str]:
    """Of a model with languages off; with none off, they are the same whatever the neurons."""
    model = subject.model
    program: Program = (settings.deactivate.of(*off),) if off else ()
    decisive: dict[str, Any] = {"random_seeds": (), "order": "listed"}
    if not off:
        decisive["deactivate"] = Deactivation(value=0.0)

    def measure() -> dict[str, Any]:
        with steered(model.model, model.taps, [program], neurons, seed=f"{name} {off}"):
            prompts = [settings.prompt.replace(QUESTION, question) for question in asked]
            texts = generate(model, prompts, settings.generation, stops=STOPS, tell=tell)
        return {"texts": texts}

    # Whatever is switched off later, what is there is not measured again.
    found: list[str] = once(
        subject,
        f"fallback/{name}/{len(off)}-{off[-1]}" if off else "fallback/unchanged",
        neurons if off else own,
        settings.model_copy(update=decisive),
        measure,
        off=",".join(off),
        questions="\n".join(asked),
    )["texts"]
    return found
