"""Neuron Specialization (arXiv 2404.11201, section 3): each direction trains on its own neurons.

The rows of the first feed-forward weight that a direction does not own are masked, in training and
in translation; everything else stays shared and is trained by all directions. The paper's table
also has rows in which one stack alone is specialised; the other then uses every neuron.
"""

from __future__ import annotations

from nsmt.methods.base import Evidence
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import keep_all, select


class NeuronSpecialization:
    """Masks by cumulative activation, in both stacks or in one."""

    def __init__(self, stack: str | None = None) -> None:
        self.stack = stack
        self.name = "neuron_specialization" + (f"_{stack}" if stack else "")
        self.label = "neuron specialisation" + (f", {stack} only" if stack else "")

    def atlas(self, evidence: Evidence) -> NeuronAtlas:
        """The most active neurons of each direction that cover k percent of its activations."""
        atlas = select(evidence.statistics, evidence.selection, pivot=evidence.pivot)
        return atlas if self.stack is None else keep_all(atlas, except_in=self.stack)
