"""The steps of `nsmt languages`: each measured once for the same weights, text and settings."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from rich.progress import Progress, TaskID

from nsmt.commands.kept_result import kept_result
from nsmt.data.identification import LanguageIdentifier
from nsmt.data.monolingual import TextSettings, contexts, paragraphs, part_of, text_digest
from nsmt.errors import AtlasError, DataError
from nsmt.evaluation.language_models.forcing import force, questions
from nsmt.evaluation.language_models.perplexity import perplexities
from nsmt.evaluation.language_models.tasks import TASKS, Example, TaskName
from nsmt.files import replace_text
from nsmt.languages import CATALOGUE
from nsmt.neurons.moments import Moment
from nsmt.neurons.random_sets import random_like
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings
from nsmt.steering.gathering import Contexts, gather
from nsmt.steering.generation import GenerationSettings, Steer, generate
from nsmt.steering.interventions import Intervention, LanguageNeurons, Operation, Program
from nsmt.steering.loading import LanguageModel
from nsmt.steering.steered import steered

_LOG = logging.getLogger(__name__)
Count = Annotated[int, Field(ge=1)]
Add = Callable[..., TaskID]
# Raised whenever the same weights, text and settings give other results.
_VERSION = 1


class GatheringSettings(Settings):
    """How much text of each language is looked at, and in what pieces."""

    tokens: Count = Field(100_000, description="of each language at most, in whole contexts")
    context: Annotated[int, Field(ge=2)] = Field(512, description="tokens of a context")
    rows: Count = Field(8, description="contexts of a batch")
    moments: tuple[Moment, ...] = ("sum", "square", "positive", "written")


class PerplexitySettings(Settings):
    """Deactivation of each language's neurons, on held-out text of all languages."""

    tokens: Count = Field(4096, description="of each language, in whole contexts")
    context: Annotated[int, Field(ge=2)] = Field(512, description="tokens of a context")
    rows: Count = Field(4, description="contexts of a batch")
    operation: Literal["constant", "multiply", "mean"] = "constant"
    value: float = 0.0
    random_seeds: tuple[int, ...] = Field((1,), description="sets of as many random neurons")


class ForcingSettings(Settings):
    """Questions in each language to be answered in each other."""

    operation: Operation = Field("add", description="on the neurons of the language wanted")
    strength: float = 1.0
    deactivate: bool = Field(
        default=True, description="switch the question's language off first, to `value`"
    )
    value: float = 0.0
    generation: GenerationSettings


class TasksSettings(Settings):
    """Tasks in each language, with each language activated."""

    names: tuple[TaskName, ...] = tuple(TASKS)
    folder: str = Field("tasks", description="with data as nsmt.evaluation.language_models.tasks")
    examples: Count | None = Field(None, description="the first of each task; null: all")
    operation: Operation = "add"
    strength: float = 1.0
    generation: GenerationSettings


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, text in some languages, and where results are kept."""

    model: LanguageModel
    text: TextSettings
    languages: tuple[str, ...]
    output: Path
    downloads: Path

    def contexts(self, language: str, part: Literal["train", "held_out"], **size: int) -> Any:  # noqa: ANN401
        """Contexts of a language's text, as `nsmt.data.monolingual.contexts` makes them."""
        texts = paragraphs(self.text, language, cache=self.downloads)
        return contexts(part_of(texts, part), self.model.tokenizer, **size)

    def key(self, **more: object) -> dict[str, Any]:
        """What decides a result."""
        text = self.text.model_dump(mode="json", exclude={"archive"})
        return {"version": _VERSION, "model": self.model.fingerprint, "text": text} | more


def gathering_step(
    subject: Subject, settings: GatheringSettings, *, bar: Progress, add: Add
) -> ActivationStatistics:
    """Statistics of every language, from its file or from its text."""
    task = add("identify", total=len(subject.languages) * settings.tokens)
    parts = []
    for language in subject.languages:
        bar.update(task, status=language)
        parts.append(_of_language(subject, language, settings, tell=partial(bar.advance, task)))
    bar.update(task, total=1, completed=1, status="")
    return ActivationStatistics.beside(parts)


def _of_language(
    subject: Subject, language: str, settings: GatheringSettings, *, tell: Callable[[int], None]
) -> ActivationStatistics:
    path = subject.output / "statistics" / f"{language}.safetensors"
    made_by = subject.key(
        language=language,
        sha256=text_digest(subject.text, language),
        gathering=settings.model_dump(mode="json"),
    )
    if path.is_file() and (kept := _kept_statistics(path, made_by)) is not None:
        tell(int(next(iter(kept.units.values())).sum()))
        return kept
    model = subject.model
    statistics = ActivationStatistics(
        (language,),
        tuple(model.taps),
        moments=settings.moments,
        provenance=made_by,
        device=model.device,
    )
    ids = subject.contexts(language, "train", length=settings.context, limit=settings.tokens)
    batches = ((language, batch) for batch in _batches(ids, settings.rows))
    gather(model.body, model.taps, batches, statistics, tell=tell)
    if not int(next(iter(statistics.units.values())).sum()):
        raise DataError(
            f"the text of '{language}' does not fill a context of {settings.context} tokens",
            fix="give more text, or lower gathering.context",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    statistics.save(path)
    return ActivationStatistics.load(path)


def _kept_statistics(path: Path, made_by: Mapping[str, Any]) -> ActivationStatistics | None:
    try:
        kept = ActivationStatistics.load(path)
    except AtlasError as error:
        _LOG.warning("%s is gathered again: %s", path, error.problem)
        return None
    return kept if kept.provenance == json.loads(json.dumps(made_by)) else None


def _batches(ids: Iterator[list[int]], rows: int) -> Iterator[Contexts]:
    some: list[list[int]] = []
    for context in ids:
        some.append(context)
        if len(some) == rows:
            yield _batch(some)
            some = []
    if some:
        yield _batch(some)


def _batch(some: list[list[int]]) -> Contexts:
    ids_BS = torch.tensor(some)
    return Contexts(ids_BS, torch.ones_like(ids_BS, dtype=torch.bool))


def perplexity_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: PerplexitySettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """{change: {language: {nll, tokens}}}; changes are "", each language and its random sets."""

    def measure() -> dict[str, Any]:
        size = {"length": settings.context, "limit": settings.tokens}
        texts = {
            language: list(subject.contexts(language, "held_out", **size))
            for language in subject.languages
        }
        if empty := [language for language, found in texts.items() if not found]:
            raise DataError(
                f"there is no held-out context of {', '.join(empty)}",
                fix="give more text, or lower perplexity.tokens",
            )
        changes = _deactivations(subject, neurons, settings)
        task = add("perplexity", total=len(changes) * len(texts))
        found = perplexities(
            subject.model,
            texts,
            changes,
            rows=settings.rows,
            tell=lambda status: bar.update(task, advance=1, status=status),
        )
        return {
            change: {language: asdict(each) for language, each in row.items()}
            for change, row in found.items()
        }

    return _once(subject, "perplexity", neurons, settings, measure)


def _deactivations(
    subject: Subject, neurons: LanguageNeurons, settings: PerplexitySettings
) -> dict[str, Callable[[], AbstractContextManager[None]]]:
    model = subject.model
    changes: dict[str, Callable[[], AbstractContextManager[None]]] = {"": nullcontext}
    sets = {"": neurons} | {
        f"random {seed} ": LanguageNeurons(
            random_like(neurons.atlas, seed=seed), neurons.statistics
        )
        for seed in settings.random_seeds
    }
    for name, members in sets.items():
        for language in subject.languages:
            step = Intervention(
                operation=settings.operation, languages=(language,), value=settings.value
            )
            changes[f"{name}{language}"] = partial(
                steered, model.model, model.taps, [(step,)], members
            )
    return changes


def forcing_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: ForcingSettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """Answers without and with the intervention, and what the identifier is."""

    def measure() -> dict[str, Any]:
        languages = subject.languages
        entries = [CATALOGUE[code] for code in languages]
        identifier = LanguageIdentifier(entries, required=languages)
        asked = questions(languages)
        count = sum(map(len, asked.values()))
        task = add("forcing", total=count * (1 + len(languages)))
        tell = partial(bar.advance, task)
        run = partial(
            force,
            subject.model,
            asked,
            languages,
            identifier=identifier,
            settings=settings.generation,
        )
        plain = run(steer=None, tell=tell)
        steer = partial(_steer, subject.model, neurons, settings)
        forced = run(steer=steer, tell=tell)
        return {
            "identifier": identifier.signature,
            "plain": [asdict(answer) for answer in plain],
            "forced": [asdict(answer) for answer in forced],
        }

    return _once(subject, "forcing", neurons, settings, measure)


def _steer(
    model: LanguageModel,
    neurons: LanguageNeurons,
    settings: ForcingSettings,
    pairs: Sequence[tuple[str, str]],
) -> Steer:
    programs = [_program(settings, asked, wanted) for asked, wanted in pairs]
    return lambda rows: steered(model.model, model.taps, [programs[row] for row in rows], neurons)


def _program(settings: ForcingSettings, asked: str, wanted: str) -> Program:
    """Deactivate first, then add: a neuron of both languages ends at value + mean."""
    activate = Intervention(
        operation=settings.operation, languages=(wanted,), strength=settings.strength
    )
    if not settings.deactivate or asked == wanted:
        return (activate,)
    silence = Intervention(operation="constant", languages=(asked,), value=settings.value)
    return silence, activate


def tasks_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: TasksSettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """{task: {language of the task: {language activated, "" for none: {metric: score}}}}."""

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
        return found

    asked = json.dumps(examples, default=asdict).encode()
    return _once(
        subject, "tasks", neurons, settings, measure, examples=hashlib.sha256(asked).hexdigest()
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
        program: Program = ()
        if activated:
            program = (
                Intervention(
                    operation=settings.operation,
                    languages=(activated,),
                    strength=settings.strength,
                ),
            )
        with steered(model.model, model.taps, [program], neurons):
            texts = generate(
                model, [each.prompt for each in examples], generation, stops=task.stops
            )
        found[activated] = task.score(texts, examples, language)
    return found


def _once(
    subject: Subject,
    name: str,
    neurons: LanguageNeurons,
    settings: Settings,
    measure: Callable[[], dict[str, Any]],
    **more: str,
) -> dict[str, Any]:
    """The result that is kept for the same key, `more` of which only some have, or a new one."""
    path = subject.output / "results" / f"{name}.json"
    made_by = subject.key(
        languages=subject.languages,
        neurons=neurons.atlas.fingerprint,
        statistics=hashlib.sha256(json.dumps(neurons.statistics.provenance).encode()).hexdigest(),
        settings=settings.model_dump(mode="json"),
        **more,
    )
    key = json.loads(json.dumps(made_by))
    if (kept := kept_result(path, key)) is not None:
        found: dict[str, Any] = kept["result"]
        return found
    result = measure()
    text = json.dumps({"key": key, "result": result}, ensure_ascii=False, allow_nan=False)
    replace_text(path, text + "\n")
    return result
