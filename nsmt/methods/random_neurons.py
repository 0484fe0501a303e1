"""Random neurons: what masks do that know nothing of the directions.

`random` is the control of Neuron Specialization: as many neurons of each direction in each layer.
`bernoulli` draws each neuron with one probability, as the released code draws weights. Runs with
other seeds draw other neurons, so that the spread over seeds is that of the draw too.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nsmt.methods.base import Evidence, Method
from nsmt.methods.neuron_specialization import selected
from nsmt.methods.treatments import Masked
from nsmt.neurons.random_sets import bernoulli, random_like

Seed = Annotated[int, Field(ge=0, description="another draw with the same seed of the run")]


class RandomNeurons(Method):
    """As many as the cumulative rule takes, drawn by the run's seed and `method.seed`."""

    labels: ClassVar = {"random": "random neurons"}
    takes_atlas: ClassVar = True
    name: Literal["random"] = "random"
    seed: Seed = 1

    def treatment(self, evidence: Evidence) -> Masked:
        """Random sets of the sizes that Neuron Specialization has."""
        return Masked(random_like(selected(evidence), seed=f"{evidence.seed}/{self.seed}"))


class BernoulliNeurons(Method):
    """Each with the probability `method.rate`."""

    labels: ClassVar = {"bernoulli": "random neurons, Bernoulli"}
    name: Literal["bernoulli"] = "bernoulli"
    seed: Seed = 1
    rate: Annotated[float, Field(ge=0, le=1)] = Field(0.8, description="how probable a neuron is")

    def treatment(self, evidence: Evidence) -> Masked:
        """Random sets of about the same size everywhere."""
        counted, seed = evidence.statistics, f"{evidence.seed}/{self.seed}"
        return Masked(bernoulli(counted.tasks, counted.sites, rate=self.rate, seed=seed))
