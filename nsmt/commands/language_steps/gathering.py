"""Statistics of every language: from its file, or from its text, going on where it was stopped.

The files lie in a folder of their model, text, settings and moments, a file a language, so that no
command replaces those of another. How many languages there are decides nothing; a text that was
edited in place is gathered again.

A language's contexts are gone through in rounds. After each, what was counted so far is written as
a state with the number of contexts, so that a process that is killed repeats one round at most.
Ranks take disjoint batches of a round, and their sums are added up at its end: the state, and so
the result, is the same for any number of ranks and rows of a batch, which may be others after each
start (counts to the last integer, sums to rounding).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from rich.progress import Progress
from torch import distributed

from nsmt.commands.language_steps.excerpt import require_a_context
from nsmt.commands.language_steps.subject import Add, Subject, one_at_a_time, short_digest
from nsmt.data.monolingual import text_digest
from nsmt.errors import AtlasError, DataError
from nsmt.neurons.moments import Moment
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Count, Settings
from nsmt.steering.gathering import Contexts, gather
from nsmt.training.snapshot import of_first_rank

_LOG = logging.getLogger(__name__)
# Of a state: how many contexts it is of.
_CONTEXTS = "contexts"
_KEPT = -1


class GatheringSettings(Settings):
    """How much text of each language is looked at, and in what pieces."""

    tokens: Count = Field(100_000, description="of each language at most, in whole contexts")
    context: Annotated[int, Field(ge=2)] = Field(512, description="tokens of a context")
    rows: Count = Field(8, description="contexts of a batch")
    moments: tuple[Moment, ...] = Field(
        ("sum",), description="beside counts; noise and random need square"
    )
    state_every: Count = Field(64, description="contexts of a rank from a state to the next")

    @model_validator(mode="after")
    def _fills_a_context(self) -> GatheringSettings:
        require_a_context(self.tokens, self.context)
        return self


def statistics_folder(subject: Subject, settings: GatheringSettings) -> Path:
    """Where statistics of the subject's model and text are, by language."""
    digest = short_digest(subject.key(gathering=_decisive(settings)))
    return subject.output / "statistics" / digest


def gathering_step(
    subject: Subject, settings: GatheringSettings, *, bar: Progress, add: Add
) -> ActivationStatistics | None:
    """Statistics of every language; None in ranks other than the first, which has them."""
    subject.require_positions(settings.context, key="gathering.context")
    task = add("identify", total=len(subject.languages) * settings.tokens)
    parts = []
    # The first rank's turn is that of all.
    first = _ranks()[0] == 0
    folder = statistics_folder(subject, settings)
    with one_at_a_time(folder) if first else nullcontext():
        for language in subject.languages:
            bar.update(task, status=language)
            part = _of_language(subject, language, settings, tell=partial(bar.advance, task))
            if part is not None:
                parts.append(part)
    bar.update(task, total=1, completed=1, status="")
    return ActivationStatistics.beside(parts) if parts else None


def _decisive(settings: GatheringSettings) -> dict[str, Any]:
    # How many contexts go together decides the last bits of sums, as the number of ranks does.
    return settings.model_dump(mode="json", exclude={"state_every", "rows"})


def _of_language(
    subject: Subject, language: str, settings: GatheringSettings, *, tell: Callable[[int], None]
) -> ActivationStatistics | None:
    folder = statistics_folder(subject, settings)
    path, state = (folder / f"{language}{kind}.safetensors" for kind in ("", ".state"))
    made_by = subject.key(
        language=language,
        sha256=text_digest(subject.text, language),
        gathering=_decisive(settings),
    )
    empty = partial(_empty, subject, language, settings.moments)
    kept = total = None

    def there() -> int:
        nonlocal kept, total
        kept = _kept(path, made_by)
        total, done = _state(state, made_by) or (empty(), 0)
        return done if kept is None else _KEPT

    # The others hear what the first has found, as they may not see its files.
    done = of_first_rank(there)
    if done == _KEPT:
        tell(0 if kept is None else int(next(iter(kept.units.values())).sum()))
        return kept
    tell(done * settings.context)
    rounds = _rounds(subject, language, settings, start=done, empty=empty, tell=tell)
    for part, done in rounds:
        if total is not None:
            total.merge(part)
            total.provenance = made_by | {_CONTEXTS: done}
            total.save(state, widths="as they are")
    if not done:
        raise DataError(
            f"the text of '{language}' does not fill a context of {settings.context} tokens",
            fix="give more text, or lower gathering.context",
        )
    if total is None:
        return None
    total.provenance = made_by
    total.save(path)
    state.unlink(missing_ok=True)
    return ActivationStatistics.load(path)


def _rounds(
    subject: Subject,
    language: str,
    settings: GatheringSettings,
    *,
    start: int,
    empty: Callable[[], ActivationStatistics],
    tell: Callable[[int], None],
) -> Iterator[tuple[ActivationStatistics, int]]:
    """The sums over all ranks of each round from context `start` on, and contexts so far.

    Every rank reads the whole text, which takes little beside the model.
    """
    model, (rank, ranks) = subject.model, _ranks()
    ids = subject.contexts(language, "train", length=settings.context, limit=settings.tokens)
    rest, done = islice(ids, start, None), start
    while some := list(islice(rest, settings.state_every * ranks)):
        batches = [
            _batch(some[at : at + settings.rows]) for at in range(0, len(some), settings.rows)
        ]
        part = empty()
        gather(
            model.body,
            model.taps,
            ((language, batch) for batch in batches[rank::ranks]),
            part,
            # The others are as far.
            tell=lambda tokens: tell(tokens * ranks),
        )
        part.all_reduce()
        done += len(some)
        yield part, done


def _empty(subject: Subject, language: str, moments: tuple[Moment, ...]) -> ActivationStatistics:
    model = subject.model
    return ActivationStatistics(
        (language,), tuple(model.taps), moments=moments, device=model.device
    )


def _kept(path: Path, made_by: Mapping[str, Any]) -> ActivationStatistics | None:
    """The statistics of a file, if that is what made them."""
    if not path.is_file():
        return None
    try:
        kept = ActivationStatistics.load(path)
    except AtlasError as error:
        _LOG.warning("%s is gathered again: %s", path, error.problem)
        return None
    asked = json.loads(json.dumps(made_by))
    found = {name: value for name, value in kept.provenance.items() if name != _CONTEXTS}
    return kept if found == asked else None


def _state(path: Path, made_by: Mapping[str, Any]) -> tuple[ActivationStatistics, int] | None:
    """What was counted when a process was stopped, and on how many contexts."""
    found = _kept(path, made_by)
    return None if found is None else (found, int(found.provenance[_CONTEXTS]))


def _ranks() -> tuple[int, int]:
    """This process, and how many gather together."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _batch(some: list[list[int]]) -> Contexts:
    ids_BS = torch.tensor(some)
    return Contexts(ids_BS, torch.ones_like(ids_BS, dtype=torch.bool))
