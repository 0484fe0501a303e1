"""Masks of languages: the source's in the encoder, the target's in the decoder.

None of the papers has it. Directions that share a language share its masks, so that unseen
directions have masks too, and all directions of a language train its rows.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from nsmt.languages import Direction
from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Masked
from nsmt.neurons.by_language import factorised


class Factorised(Method):
    """Cumulative activation over all directions of a language, by side."""

    labels: ClassVar = {"factorised": "factorised specialisation"}
    name: Literal["factorised"] = "factorised"

    def treatment(self, evidence: Evidence) -> Masked:
        """The sets of every trained direction; those of others follow from the same languages."""
        directions = [Direction.parse(task) for task in evidence.statistics.tasks]
        return Masked(
            factorised(evidence.statistics, evidence.selection, directions, pivot=evidence.pivot)
        )
