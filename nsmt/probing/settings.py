"""How much each probe measures, as configured by conf/probe.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nsmt.neurons.selection import Percent
from nsmt.settings import Count, Settings

ProbeName = Literal["interventions", "gradients", "transfer", "stability", "family"]
PROBES: tuple[ProbeName, ...] = ("interventions", "gradients", "transfer", "stability", "family")

Seed = Annotated[int, Field(ge=0)]


class InterventionSettings(Settings):
    """Other masks than a model's own, on the test sets."""

    k: tuple[Percent, ...] = Field((85.0, 70.0), description="further k of the dense model's masks")
    random_seeds: tuple[Seed, ...] = Field((1, 2, 3), min_length=1, description="one draw each")
    bootstrap_samples: Count = Field(1000, description="paired resamples of the test sets")
    seed: Seed = 12345


class GradientSettings(Settings):
    """Gradients of directions on their validation sets."""

    tokens: Count = Field(4096, description="target tokens of each direction")
    memory_gib: Annotated[float, Field(gt=0)] = Field(
        4.0, description="gradients of all directions kept at a time; smaller means more passes"
    )


class TransferSettings(GradientSettings):
    """One step on a direction, and what it does to the others."""

    relative_step: Annotated[float, Field(gt=0, lt=1)] = Field(
        1e-4, description="the length of the step over the length of all weights"
    )


class StabilitySettings(Settings):
    """Neuron sets of halves and resamples of the validation sets."""

    replicas: Annotated[int, Field(ge=2)] = Field(100, description="Poisson-weighted resamples")
    seed: Seed = 1


class FamilySettings(Settings):
    """Overlap within and between language families."""

    permutations: Count = Field(
        9999, description="of the languages, drawn at random; all of them if they are no more"
    )
    seed: Seed = 1
