"""What a run does to a model: one file a method, one interface."""

from nsmt.methods.base import Evidence, Method, MethodName, MethodSettings
from nsmt.methods.continue_dense import ContinueDense
from nsmt.methods.neuron_specialization import NeuronSpecialization

DENSE = "dense"
CONTROL = ContinueDense.name
METHODS: dict[str, Method] = {
    method.name: method for method in (ContinueDense(), NeuronSpecialization())
}
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
