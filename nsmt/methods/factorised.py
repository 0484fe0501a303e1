"""Masks of languages: the source's in the encoder, the target's in the decoder.

None of the papers has it. Directions that share a language share its masks, so that unseen
directions have masks too, and all directions of a language train its rows.
"""

from __future__ import annotations

from nsmt.languages import Direction
from nsmt.methods.base import Evidence
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.by_language import factorised


class Factorised:
    """Cumulative activation over all directions of a language, by side."""

    name = "factorised"
    label = "factorised specialisation"

    def atlas(self, evidence: Evidence) -> NeuronAtlas:
        """The sets of every trained direction; those of others follow from the same languages."""
        directions = [Direction.parse(task) for task in evidence.statistics.tasks]
        return factorised(evidence.statistics, evidence.selection, directions, pivot=evidence.pivot)
