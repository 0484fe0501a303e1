"""What a run does to a model: one file a method, one interface."""

from nsmt.methods.base import Evidence, Method, MethodName, MethodSettings
from nsmt.methods.continue_dense import ContinueDense
from nsmt.methods.factorised import Factorised
from nsmt.methods.layer_budget import LayerBudget
from nsmt.methods.neuron_specialization import NeuronSpecialization
from nsmt.methods.random_neurons import BernoulliNeurons, RandomNeurons

DENSE = "dense"
CONTROL = ContinueDense.name
_ALL: tuple[Method, ...] = (
    ContinueDense(),
    NeuronSpecialization(),
    NeuronSpecialization("encoder"),
    NeuronSpecialization("decoder"),
    Factorised(),
    LayerBudget(),
    RandomNeurons(),
    BernoulliNeurons(),
)
METHODS = {method.name: method for method in _ALL}
# What tables, figures and progress bars call each stage.
LABELS = {DENSE: "dense"} | {name: method.label for name, method in METHODS.items()}

__all__ = [
    "CONTROL",
    "DENSE",
    "LABELS",
    "METHODS",
    "Evidence",
    "Method",
    "MethodName",
    "MethodSettings",
]
