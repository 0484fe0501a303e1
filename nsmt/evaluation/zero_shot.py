"""Unseen directions of a trained model: which there are, and with which neurons it translates them.

A model with a mask for each direction has none for X→Y. Neuron Specialization's released code takes
the encoder's of X→pivot and the decoder's of pivot→Y (merged sets), as LaSS does with its masks of
weights. The same is done with adapters here; those of families are then X's and Y's. Sets that
belong to languages by construction (factorised sets) are the other way, here with the same weights,
which were trained with the sets of directions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from nsmt.errors import CheckpointError, ConfigurationError, did_you_mean
from nsmt.evaluation.groups import table_order
from nsmt.languages import Direction, Halves, LanguageTable
from nsmt.models.checkpoint import TrainedModel
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.by_language import factorised, merged
from nsmt.neurons.selection import SelectionSettings, keep_all
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Count, Settings


class UnseenSettings(Settings):
    """Which unseen directions are evaluated, on how much text, and whether it is identified."""

    languages: tuple[str, ...] | None = Field(
        None, description="null: all of the corpus but the pivot"
    )
    min_sentences: Count = Field(
        50, description="a direction with fewer joined test sentences is left out, and named"
    )
    max_sentences: Count | None = Field(None, description="of each direction; null: all")
    identify: bool = Field(default=True, description="off-target rates; needs the extra langid")
    min_letter_bytes: Annotated[int, Field(ge=0)] = Field(
        12, description="a hypothesis with fewer bytes of letters (UTF-8) is not judged"
    )


class ZeroShotSettings(UnseenSettings):
    """Translate between languages that a finished run never trained together."""

    kind: Literal["zero_shot"] = "zero_shot"
    systems: tuple[str, ...] | None = Field(
        None, min_length=1, description="null: all of the run that can translate unseen directions"
    )


@dataclass(frozen=True, slots=True)
class Variant:
    """A system for the directions to translate, with what these have of it, a name and a label.

    `either_way`: merged and factorised sets are the same for these directions.
    """

    name: str
    label: str
    trained: TrainedModel
    either_way: bool = False


def unseen_directions(
    chosen: Sequence[str] | None, languages: LanguageTable, *, pivot: str
) -> list[Direction]:
    """All n(n-1) directions between the chosen languages, in table order.

    Raises ConfigurationError if one is unknown or the pivot, or there are fewer than two.
    """
    others = [language.code for language in languages.by_family() if language.code != pivot]
    if chosen is not None:
        strangers = [code for code in chosen if code not in others]
        if strangers:
            hint = did_you_mean(strangers[0], others)
            raise ConfigurationError(
                f"eval.languages: {', '.join(strangers)} cannot be evaluated",
                fix=f"{hint}the corpus has, beside the pivot {pivot}: {', '.join(others)}",
            )
        others = [code for code in others if code in chosen]
    if len(others) < 2:
        raise ConfigurationError(
            f"there is no direction between {', '.join(others) or 'no languages'} without {pivot}",
            fix="give two languages or more, or a run of more",
        )
    pairs = itertools.permutations(others, 2)
    return table_order((Direction(*pair) for pair in pairs), languages, pivot=pivot)


def variants(
    name: str,
    label: str,
    trained: TrainedModel,
    directions: Sequence[Direction],
    *,
    pivot: str,
    statistics: ActivationStatistics | None,
) -> Iterator[Variant]:
    """The system with merged sets and, if they differ, with factorised ones.

    Sets by the cumulative rule can be factorised, from the statistics they were selected from. They
    are the merged ones where a language is read in one trained direction alone, and written in one,
    as beside a pivot. A system without sets is one variant. Raises AtlasError, or CheckpointError,
    if X→pivot or pivot→Y has no sets, or no weights or adapters.
    """
    directions = list(directions)
    if trained.atlas is None:
        halves = {} if trained.is_plain else _halves(trained, directions, pivot=pivot)
        yield Variant(name, label, replace(trained, directions=directions, halves=halves))
        return
    by_direction = merged(trained.atlas, directions, pivot=pivot)
    by_language = factorised_like(trained.atlas, directions, pivot=pivot, statistics=statistics)
    if by_language is None or by_language == by_direction:
        changed = replace(trained, directions=directions, atlas=by_direction)
        same = by_language is not None or trained.atlas.provenance.get("rule") == "factorised"
        yield Variant(name, label, changed, either_way=same)
        return
    for suffix, way, atlas in (
        ("", "merged", by_direction),
        ("-factorised", "factorised", by_language),
    ):
        changed = replace(trained, directions=directions, atlas=atlas)
        yield Variant(f"{name}{suffix}", f"{label} ({way} sets)", changed)


def _halves(
    trained: TrainedModel, directions: Sequence[Direction], *, pivot: str
) -> dict[Direction, Halves]:
    """Whose weights or adapters each direction has; before anything is translated."""
    own = set(trained.directions)
    halves = {each: Halves.of(each, own, pivot=pivot) for each in directions}
    needed = {half for both in halves.values() for half in both}
    if missing := sorted(map(str, needed - own)):
        raise CheckpointError(
            f"the model has no weights or adapters of {', '.join(missing)}",
            fix=f"evaluate languages that it was trained on with {pivot}, by eval.languages",
        )
    return halves


def factorised_like(
    atlas: NeuronAtlas,
    directions: Sequence[Direction],
    *,
    pivot: str,
    statistics: ActivationStatistics | None,
) -> NeuronAtlas | None:
    """Factorised sets by the rule, k and stack of `atlas`; None if it was not selected from these.

    Sets that are random, or of another rule or other statistics, have no such counterpart.
    """
    made = atlas.provenance
    if (
        statistics is None
        or made.get("rule") != "cumulative"
        or made.get("statistics") != statistics.provenance
        or "selection" not in made
    ):
        return None
    selection = SelectionSettings.model_validate(made["selection"])
    sets = factorised(statistics, selection, directions, pivot=pivot)
    return keep_all(sets, except_in=made["only"]) if "only" in made else sets
