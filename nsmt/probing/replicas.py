"""How sure is a neuron set: sets of halves and of resampled validation sets, from one pass.

A resampled validation set is a weight for each sentence; Poisson(1) weights make a bootstrap whose
sentences need not be known in advance. All replicas are counted in one forward pass, as a product
of weights [R, C] and counts by sentence [C, F]; a half is a replica with weights 0 and 1, and the
set itself one with weights 1. Products are in float64 and exact, since no count comes near 2^53;
sums are int64.

Shape suffixes: R replicas, N sentences of a table, B rows of a batch, S positions, C sentences of a
batch, F neurons of a site.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nsmt.data.corpus import TokenTable
from nsmt.data.datamodule import TableReader, sequence_format
from nsmt.data.plan import BatchSettings, in_order
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.neurons.recording import ActivationRecorder, Positions
from nsmt.neurons.selection import smallest_prefix
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import CountRule, count_fired


class WeightedCounts:
    """Activation counts of one direction for each of several weightings of its sentences.

    `weights_RN` is int64 and not negative. `active[site.name]` is int64 [R, F] on its device.
    """

    def __init__(self, sites: Sequence[Site], weights_RN: Tensor, *, rule: CountRule) -> None:
        self.rule = rule
        self._weights_RN = weights_RN.double()
        self.active = {
            site.name: torch.zeros(
                len(weights_RN), site.width, dtype=torch.int64, device=weights_RN.device
            )
            for site in sites
        }

    def update(
        self,
        site: str,
        activation_BSF: Tensor,
        *,
        task_C: Tensor,
        real_BS: Tensor,
        sentence_S: Tensor | None = None,
    ) -> None:
        """Add a padded batch; `task_C` says which sentences of the table it holds."""
        if sentence_S is not None:
            raise ValueError("replicas are counted on padded batches")
        fired_CF, _ = count_fired(activation_BSF, real_BS=real_BS, rule=self.rule)
        weights_RC = self._weights_RN.index_select(1, task_C)
        self.active[site] += (weights_RC @ fired_CF.double()).to(torch.int64)


@torch.no_grad()
def weighted_counts(
    trained: TrainedModel,
    direction: Direction,
    table: TokenTable,
    weights_RN: Tensor,
    *,
    rule: CountRule,
    tokens: int,
    device: torch.device | str = "cpu",
) -> WeightedCounts:
    """Read every sentence of a direction once and count it in every replica."""
    model = trained.model.to(device).eval()
    masks = trained.masks([direction])
    masks = None if masks is None else masks.to(device)
    counts = WeightedCounts(model.sites, weights_RN.to(device), rule=rule)
    recorder = ActivationRecorder(counts)
    reader = TableReader({direction: table}, sequence_format(trained.vocabulary))
    with recorder.attached(model.projections):
        for planned in in_order({direction: table}, BatchSettings(layout="padded", tokens=tokens)):
            batch = reader.read(planned).to(device)
            positions = {
                "encoder": Positions(batch.source_real_BS),
                "decoder": Positions(batch.target_real_BT),
            }
            recorder.observe(torch.from_numpy(planned.row).to(device), positions)
            model(batch, None if masks is None else masks(batch))
    return counts


def poisson_weights(direction: Direction, sentences: int, *, replicas: int, seed: int) -> Tensor:
    """How often each sentence is in each replica: int64 [R, N], of a stream a direction."""
    generator = np.random.default_rng([seed, zlib.crc32(str(direction).encode())])
    return torch.from_numpy(generator.poisson(1.0, (replicas, sentences)).astype(np.int64))


def replica_sets(counts: WeightedCounts, site: Site, percent: float) -> Tensor:
    """The neurons that each replica selects: bool [R, F]."""
    active_RF = counts.active[site.name]
    return smallest_prefix(active_RF, [percent] * len(active_RF))
