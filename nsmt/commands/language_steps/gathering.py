"""Statistics of every language: from its file, or from its text."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.subject import Add, Count, Subject
from nsmt.data.monolingual import text_digest
from nsmt.errors import AtlasError, DataError
from nsmt.neurons.moments import Moment
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings
from nsmt.steering.gathering import Contexts, gather

_LOG = logging.getLogger(__name__)


class GatheringSettings(Settings):
    """How much text of each language is looked at, and in what pieces."""

    tokens: Count = Field(100_000, description="of each language at most, in whole contexts")
    context: Annotated[int, Field(ge=2)] = Field(512, description="tokens of a context")
    rows: Count = Field(8, description="contexts of a batch")
    moments: tuple[Moment, ...] = ("sum", "square", "positive", "written")


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
