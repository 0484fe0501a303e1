"""Neuron Specialization (arXiv 2404.11201, section 3): each direction trains on its own neurons.

The rows of the first feed-forward weight that a direction does not own are masked, in training and
in translation; everything else stays shared and is trained by all directions.
"""

from __future__ import annotations

from nsmt.methods.base import Evidence
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import select


class NeuronSpecialization:
    """Masks by cumulative activation."""

    name = "neuron_specialization"
    label = "neuron specialisation"

    def atlas(self, evidence: Evidence) -> NeuronAtlas | None:
        """The most active neurons of each direction that cover k percent of its activations."""
        return select(evidence.statistics, evidence.selection, pivot=evidence.pivot)
