"""What each position of a batch may use, looked up by its direction; above all, masks, as bits.

Shape suffixes: T directions, B rows of a batch, Q its positions (1 if a row is one sentence's),
P bytes of packed bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nsmt.data.batch import BatchLayout
from nsmt.languages import Direction
from nsmt.neurons.atlas import NeuronAtlas, unpack_bits
from nsmt.neurons.sites import ENCODER, Site, require_same_sites

# For a site's name, which neurons each position may use: packed bits, uint8 [B, Q, P]; all of them
# at a site that is not named. With adapters, the group of each position instead: int64 [B, Q], see
# nsmt.models.adapters. Either has a row for each of the batch, and beam search keeps some of them.
SiteMasks = Mapping[str, Tensor]


def direction_in(batch: BatchLayout, stack: str) -> Tensor:
    """The direction of each position that a stack works on: int64 [B, Q]."""
    return batch.source_direction if stack == ENCODER else batch.target_direction


class Permits(nn.Module):
    """Tells of a batch, which may mix directions, what each of its positions may use."""

    def forward(self, batch: BatchLayout) -> dict[str, Tensor]:
        """See SiteMasks."""
        raise NotImplementedError


class DirectionMasks(Permits):
    """An atlas on the device; `forward` gives the masks of a batch that may mix directions.

    The bits are held once: 18 MiB for 3,000 directions of a large model.
    """

    packed_TP: Tensor

    def __init__(
        self, atlas: NeuronAtlas, directions: Sequence[Direction], *, sites: Sequence[Site]
    ) -> None:
        super().__init__()
        require_same_sites(tuple(sites), atlas.sites, what="the model and the atlas")
        chosen = atlas.select([str(direction) for direction in directions])
        self.sites = chosen.sites
        self._tasks, self._provenance = chosen.tasks, chosen.provenance
        # Not persistent: a checkpoint stores the atlas itself.
        self.register_buffer("packed_TP", self._joined(chosen), persistent=False)

    @property
    def atlas(self) -> NeuronAtlas:
        """The sets that are in place: a copy on the CPU."""
        parts = torch.split(self.packed_TP.to("cpu", copy=True), self._sizes, dim=-1)
        packed = {
            site.name: part.contiguous() for site, part in zip(self.sites, parts, strict=True)
        }
        return NeuronAtlas(self._tasks, self.sites, packed, provenance=self._provenance)

    def replace(self, atlas: NeuronAtlas) -> None:
        """Go on with other sets of the same directions and sites, in place."""
        require_same_sites(self.sites, atlas.sites, what="the masks and the atlas")
        chosen = atlas.select(self._tasks)
        self._provenance = chosen.provenance
        self.packed_TP.copy_(self._joined(chosen))

    def of(self, site: Site) -> Tensor:
        """The sets of all directions at a site, on the device: bool [T, F]."""
        parts = torch.split(self.packed_TP, self._sizes, dim=-1)
        return unpack_bits(parts[self.sites.index(site)], site.width)

    def forward(self, batch: BatchLayout) -> dict[str, Tensor]:
        """The packed masks of each position's direction, at every site.

        They stay bits until a layer needs them: a batch of 30,720 positions and the twelve sites of
        a large model would make 1.5 GB of booleans.
        """
        masks: dict[str, Tensor] = {}
        start = 0
        # A stack's sites lie side by side: one look-up fetches them, and nothing of the other's.
        for stack, sites in groupby(self.sites, key=lambda site: site.stack):
            sizes = {site.name: (site.width + 7) // 8 for site in sites}
            end = start + sum(sizes.values())
            direction_BQ = direction_in(batch, stack)
            rows_BQP = F.embedding(direction_BQ, self.packed_TP[:, start:end])
            masks |= zip(sizes, torch.split(rows_BQP, [*sizes.values()], dim=-1), strict=True)
            start = end
        return masks

    @property
    def _sizes(self) -> list[int]:
        """Bytes of a direction's bits at each site."""
        return [(site.width + 7) // 8 for site in self.sites]

    def _joined(self, atlas: NeuronAtlas) -> Tensor:
        return torch.cat([atlas.packed[site.name] for site in self.sites], dim=-1)
