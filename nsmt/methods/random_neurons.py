"""Random neurons: what masks do that know nothing of the directions.

Every run draws its own, by its seed and the method's: over the seeds of a table, what a draw does
is part of the variation.

`random` is the control of Neuron Specialization: as many neurons of each direction in each layer.
`bernoulli` draws each neuron with one probability, as the released code draws weights.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nsmt.methods.base import Evidence, Method
from nsmt.methods.neuron_specialization import selected
from nsmt.methods.treatments import Masked
from nsmt.neurons.random_sets import bernoulli, random_like

Seed = Annotated[
    int, Field(ge=0, lt=2**32, description="of the neurons, together with the run's seed")
]


class RandomNeurons(Method):
    """As many as the cumulative rule takes, drawn by `method.seed` and the run's seed."""

    labels: ClassVar = {"random": "random neurons"}
    name: Literal["random"] = "random"
    seed: Seed = 1

    def treatment(self, evidence: Evidence) -> Masked:
        """Random sets of the sizes that Neuron Specialization has."""
        return Masked(random_like(selected(evidence), seed=_drawn_by(evidence, self.seed)))


class BernoulliNeurons(Method):
    """Each with the probability `method.rate`."""

    labels: ClassVar = {"bernoulli": "random neurons, Bernoulli"}
    name: Literal["bernoulli"] = "bernoulli"
    seed: Seed = 1
    rate: Annotated[float, Field(ge=0, le=1)] = Field(0.8, description="how probable a neuron is")

    def treatment(self, evidence: Evidence) -> Masked:
        """Random sets of about the same size everywhere."""
        statistics = evidence.statistics
        seed = _drawn_by(evidence, self.seed)
        return Masked(bernoulli(statistics.tasks, statistics.sites, rate=self.rate, seed=seed))


def _drawn_by(evidence: Evidence, own: int) -> int:
    """One seed of two, different for different pairs."""
    return evidence.seed * 2**32 + own
