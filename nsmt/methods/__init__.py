"""What a run does to a model: one file a method, one interface."""

from __future__ import annotations

from typing import Annotated, get_args

from pydantic import Field

from nsmt.methods.adapters import AdapterMethod
from nsmt.methods.base import Evidence, Method
from nsmt.methods.bilingual import Bilingual
from nsmt.methods.continue_dense import ContinueDense
from nsmt.methods.factorised import Factorised
from nsmt.methods.lass import Lass
from nsmt.methods.layer_budget import LayerBudget
from nsmt.methods.neuron_specialization import (
    FrozenRest,
    IsolatedUpdates,
    MaskAtInference,
    NeuronSpecialization,
    UpdateMask,
)
from nsmt.methods.random_neurons import BernoulliNeurons, RandomNeurons
from nsmt.methods.reidentify import Reidentify
from nsmt.methods.treatments import (
    Adapted,
    Masked,
    MasksAct,
    Separate,
    Tightening,
    Treatment,
    WeightMasked,
)

AnyMethod = Annotated[
    ContinueDense
    | NeuronSpecialization
    | MaskAtInference
    | UpdateMask
    | FrozenRest
    | IsolatedUpdates
    | Reidentify
    | Factorised
    | LayerBudget
    | RandomNeurons
    | BernoulliNeurons
    | Lass
    | AdapterMethod
    | Bilingual,
    Field(discriminator="name"),
]
_CLASSES: tuple[type[Method], ...] = get_args(get_args(AnyMethod)[0])

DENSE = "dense"
CONTROL = "continue_dense"
# Methods that tables of their own compare.
SPECIALISED, RANDOM, BILINGUAL = "neuron_specialization", "random", "bilingual"
# What tables, figures and progress bars call each method, and the dense model.
LABELS = {DENSE: "dense"} | {
    name: label for each in _CLASSES for name, label in each.labels.items()
}
# The key of the schedule's settings of single models, by method that trains some.
PARTS = {name: parts for each in _CLASSES if (parts := each.parts) for name in each.labels}
# Methods with weights for trained directions alone, and those that are not one model; with why.
SEEN_ONLY = {name: why for each in _CLASSES if (why := each.seen_only) for name in each.labels}
NOT_PROBED = {name: why for each in _CLASSES if (why := each.not_probed) for name in each.labels}

__all__ = [
    "BILINGUAL",
    "CONTROL",
    "DENSE",
    "LABELS",
    "NOT_PROBED",
    "PARTS",
    "RANDOM",
    "SEEN_ONLY",
    "SPECIALISED",
    "Adapted",
    "AnyMethod",
    "ContinueDense",
    "Evidence",
    "Masked",
    "MasksAct",
    "Method",
    "Separate",
    "Tightening",
    "Treatment",
    "WeightMasked",
]
