"""As many neurons as Neuron Specialization takes, spread over the layers by what fires.

None of the papers has it: the cumulative rule treats each layer by itself. The budget is a stack's:
encoders and decoders see other numbers of tokens, so that counts compare within a stack alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Masked
from nsmt.neurons.budget import layer_budget


class LayerBudget(Method):
    """One budget for each stack."""

    labels: ClassVar = {"layer_budget": "specialisation, one budget a stack"}
    name: Literal["layer_budget"] = "layer_budget"

    def treatment(self, evidence: Evidence) -> Masked:
        """The most active neurons of each direction in each stack."""
        return Masked(layer_budget(evidence.statistics, evidence.selection, pivot=evidence.pivot))
