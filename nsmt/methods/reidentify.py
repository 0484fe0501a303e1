"""Masks that are measured again while a direction specialises, and tightened on the way.

None of the papers has it: all record activations once, on the dense model, although what fires
drifts with further training (a dense model and its continuation share 61 to 84 percent of a
direction's neurons at k = 70, in a prototype of ours).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Masked, Tightening
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import loosened, select
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Count


class Reidentify(Method):
    """Rounds of equal length; each begins with new counts, all neurons being used to get them.

    In round r of n, k is 100 - (100 - selection.k)·r/n: the last round has the selection's own k.
    """

    labels: ClassVar = {"reidentify": "specialisation, measured again"}
    name: Literal["reidentify"] = "reidentify"
    rounds: Count = Field(5, description="how often neurons are identified")

    def treatment(self, evidence: Evidence) -> Masked:
        """The masks of the first round, and how to make the next ones."""

        def atlas(statistics: ActivationStatistics, number: int) -> NeuronAtlas:
            loose = loosened(evidence.selection, share=(number + 1) / self.rounds)
            return select(statistics, loose, pivot=evidence.pivot)

        first = atlas(evidence.statistics, 0)
        return Masked(first, tightening=Tightening(self.rounds, atlas))
