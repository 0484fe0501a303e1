"""What a method is: from a dense model and what was measured on it, to which neurons to use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings

MethodName = Literal[
    "continue_dense",
    "neuron_specialization",
    "neuron_specialization_encoder",
    "neuron_specialization_decoder",
    "factorised",
    "layer_budget",
    "random",
    "bernoulli",
]


class MethodSettings(Settings):
    """Which method specialises the dense model."""

    name: MethodName = "neuron_specialization"
    seed: Annotated[int, Field(ge=0)] = Field(1, description="of random neurons")
    rate: Annotated[float, Field(ge=0, le=1)] = Field(
        0.8, description="for bernoulli: how probable a neuron is"
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a method may decide by: counts on the validation sets, the rule, the pivot, settings."""

    statistics: ActivationStatistics
    selection: SelectionSettings
    pivot: str
    method: MethodSettings


class Method(Protocol):
    """One way to go on from a dense checkpoint."""

    name: str
    label: str

    def atlas(self, evidence: Evidence) -> NeuronAtlas | None:
        """The neurons that each direction may use from now on; None for all of them."""
        ...
