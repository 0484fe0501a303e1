"""As many neurons as Neuron Specialization takes, spread over all layers by what fires.

None of the papers has it: the cumulative rule treats each layer by itself. With `budget=stack`
each stack keeps the number that it has by that rule; with `model` neurons move between the stacks.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Masked
from nsmt.neurons.budget import Budget, layer_budget


class LayerBudget(Method):
    """One budget of each direction for the model, or for each stack."""

    labels: ClassVar = {"layer_budget": "specialisation by budget"}
    name: Literal["layer_budget"] = "layer_budget"
    budget: Budget = Field("model", description="what has one budget: the model, or each stack")

    def treatment(self, evidence: Evidence) -> Masked:
        """The most active neurons of each direction."""
        return Masked(
            layer_budget(
                evidence.statistics, evidence.selection, pivot=evidence.pivot, budget=self.budget
            )
        )
