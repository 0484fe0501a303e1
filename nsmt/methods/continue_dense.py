"""The control: the same further updates with the same reset, and no mask.

The released code of Neuron Specialization has none; in a prototype on real text all of the gain
over the dense checkpoint was extra training, so no table of ours goes without this row.
"""

from __future__ import annotations

from nsmt.methods.base import Evidence
from nsmt.neurons.atlas import NeuronAtlas


class ContinueDense:
    """Every direction goes on using every neuron."""

    name = "continue_dense"
    label = "continue-dense"

    def atlas(self, evidence: Evidence) -> NeuronAtlas | None:
        """No masks."""
        del evidence
        return None
