"""What a method is: from a dense model and what was measured on it, to which neurons to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings

MethodName = Literal["neuron_specialization", "continue_dense"]


class MethodSettings(Settings):
    """Which method specialises the dense model."""

    name: MethodName = "neuron_specialization"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a method may decide by: counts on the validation sets, the rule, the pivot."""

    statistics: ActivationStatistics
    selection: SelectionSettings
    pivot: str


class Method(Protocol):
    """One way to go on from a dense checkpoint."""

    name: str
    label: str

    def atlas(self, evidence: Evidence) -> NeuronAtlas | None:
        """The neurons that each direction may use from now on; None for all of them."""
        ...
