"""What each language loses when the neurons of each are switched off: LAPE's own test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.subject import Add, Count, Subject, held_out, once
from nsmt.evaluation.language_models.perplexity import perplexities
from nsmt.neurons.random_sets import permuted
from nsmt.settings import Settings
from nsmt.steering.interventions import Intervention, LanguageNeurons
from nsmt.steering.steered import steered


class PerplexitySettings(Settings):
    """Deactivation of each language's neurons, on held-out text of all languages."""

    tokens: Count = Field(4096, description="of each language, in whole contexts")
    context: Annotated[int, Field(ge=2)] = Field(512, description="tokens of a context")
    rows: Count = Field(4, description="contexts of a batch")
    operation: Literal["constant", "multiply", "mean"] = "constant"
    value: float = 0.0
    random_seeds: tuple[int, ...] = Field((1,), description="sets of as many random neurons")


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
        texts = held_out(subject, length=settings.context, limit=settings.tokens)
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

    return once(subject, "perplexity", neurons, settings, measure)


def _deactivations(
    subject: Subject, neurons: LanguageNeurons, settings: PerplexitySettings
) -> dict[str, Callable[[], AbstractContextManager[None]]]:
    model = subject.model
    changes: dict[str, Callable[[], AbstractContextManager[None]]] = {"": nullcontext}
    sets = {"": neurons} | {
        f"random {seed} ": LanguageNeurons(permuted(neurons.atlas, seed=seed), neurons.statistics)
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
