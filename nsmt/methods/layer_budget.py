"""As many neurons as Neuron Specialization takes, spread over the layers by what fires.

None of the papers has it: the cumulative rule treats each layer by itself.
"""

from __future__ import annotations

from nsmt.methods.base import Evidence
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.budget import layer_budget


class LayerBudget:
    """One budget for each stack."""

    name = "layer_budget"
    label = "specialisation by budget"

    def atlas(self, evidence: Evidence) -> NeuronAtlas:
        """The most active neurons of each direction in each stack."""
        return layer_budget(evidence.statistics, evidence.selection, pivot=evidence.pivot)
