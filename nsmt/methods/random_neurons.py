"""Random neurons: what masks do that know nothing of the directions.

`random` is the control of Neuron Specialization: as many neurons of each direction in each layer.
`bernoulli` draws each neuron with one probability, as the released code draws weights.
"""

from __future__ import annotations

from nsmt.methods.base import Evidence
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.random_sets import bernoulli, random_like
from nsmt.neurons.selection import select


class RandomNeurons:
    """As many as the cumulative rule takes, drawn by `method.seed`."""

    name = "random"
    label = "random neurons"

    def atlas(self, evidence: Evidence) -> NeuronAtlas:
        """Random sets of the sizes that Neuron Specialization has."""
        like = select(evidence.statistics, evidence.selection, pivot=evidence.pivot)
        return random_like(like, seed=evidence.method.seed)


class BernoulliNeurons:
    """Each with the probability `method.rate`."""

    name = "bernoulli"
    label = "random neurons, Bernoulli"

    def atlas(self, evidence: Evidence) -> NeuronAtlas:
        """Random sets of about the same size everywhere."""
        statistics, method = evidence.statistics, evidence.method
        return bernoulli(statistics.tasks, statistics.sites, rate=method.rate, seed=method.seed)
