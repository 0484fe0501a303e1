"""What each language loses when the neurons of each are switched off: LAPE's own test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.deactivating import Deactivation, controls
from nsmt.commands.language_steps.excerpt import ExcerptSettings
from nsmt.commands.language_steps.subject import Add, Subject, held_out, once
from nsmt.evaluation.language_models.perplexity import perplexities
from nsmt.steering.interventions import LanguageNeurons
from nsmt.steering.steered import steered


class PerplexitySettings(ExcerptSettings):
    """Deactivation of each language's neurons, on held-out text of all languages."""

    deactivate: Deactivation = Deactivation(value=0.0)
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
        tell = partial(bar.update, task, advance=1)
        found = {}
        for done, (name, change) in enumerate(changes.items(), start=1):
            # Whatever else is switched off, this is not measured again.
            decisive: dict[str, Any] = {"random_seeds": ()}
            if not name:
                decisive["deactivate"] = Deactivation(value=0.0)
            found[name] = once(
                subject,
                f"perplexity/{name.replace(' ', '-') or 'unchanged'}",
                neurons,
                settings.model_copy(update=decisive),
                partial(_row, subject, texts, name, change, settings.rows, tell),
            )
            bar.update(task, completed=done * len(texts))
        return found

    return once(subject, "perplexity", neurons, settings, measure)


def _row(
    subject: Subject,
    texts: Mapping[str, Sequence[Sequence[int]]],
    name: str,
    change: Callable[[], AbstractContextManager[None]],
    rows: int,
    tell: Callable[..., None],
) -> dict[str, Any]:
    """{language: {nll, tokens}} under one change."""
    found = perplexities(
        subject.model,
        texts,
        {name: change},
        rows=rows,
        tell=lambda status: tell(status=status),
    )
    return {language: asdict(each) for language, each in found[name].items()}


def _deactivations(
    subject: Subject, neurons: LanguageNeurons, settings: PerplexitySettings
) -> dict[str, Callable[[], AbstractContextManager[None]]]:
    model = subject.model
    changes: dict[str, Callable[[], AbstractContextManager[None]]] = {"": nullcontext}
    for name, members in {"": neurons, **controls(neurons, settings.random_seeds)}.items():
        for language in subject.languages:
            step = settings.deactivate.of(language)
            change = f"{name} {language}".strip()
            changes[change] = partial(
                steered, model.model, model.taps, [(step,)], members, seed=change
            )
    return changes
