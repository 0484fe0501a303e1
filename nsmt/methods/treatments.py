"""What can be done to a dense model: one dataclass a kind, with all that it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

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


Treatment = Masked
