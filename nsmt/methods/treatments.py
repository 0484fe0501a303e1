"""What can be done to a dense model: one dataclass a kind, with all that it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from nsmt.languages import Direction
from nsmt.models.adapters import AdapterSettings
from nsmt.models.weight_masks import Scope
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics

# forward: a direction computes with its own neurons alone, in training and afterwards.
# gradient: it computes with all of them, and trains its own. after: it trains all of them, and
# its own alone are used in translation.
MasksAct = Literal["forward", "gradient", "after"]


@dataclass(frozen=True, slots=True)
class Tightening:
    """Masks that are measured again: `atlas` makes those of a round, of `rounds`, from counts."""

    rounds: int
    atlas: Callable[[ActivationStatistics, int], NeuronAtlas]


@dataclass(frozen=True, slots=True)
class Masked:
    """Train on with an atlas; None for all neurons.

    `freeze_rest`: nothing but the first weights of the feed-forward layers is trained. `isolated`:
    a row and its moments stay as they are in updates without a direction that owns it.
    """

    atlas: NeuronAtlas | None = None
    act: MasksAct = "forward"
    freeze_rest: bool = False
    isolated: bool = False
    tightening: Tightening | None = None


@dataclass(frozen=True, slots=True)
class WeightMasked:
    """Train on with masks of single weights, by magnitude in models tuned on each direction.

    Those are tuned from the dense model with another `dropout`, see `nsmt.models.weight_masks`.
    """

    rate: float
    scope: Scope
    output_projection: bool
    dropout: float


@dataclass(frozen=True, slots=True)
class Adapted:
    """Train adapters alone: one set for each group that `groups` names."""

    groups: Mapping[Direction, str]
    settings: AdapterSettings


@dataclass(frozen=True, slots=True)
class Separate:
    """Train a model of its own on each part of the directions, from random weights."""

    parts: Mapping[str, tuple[Direction, ...]]


Treatment = Masked | WeightMasked | Adapted | Separate
