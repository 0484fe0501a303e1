"""The masks of all directions inside a model: bits, looked up by the directions of a batch.

Shape suffixes: T directions, B sentences, F neurons of a site, P bytes of packed bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from nsmt.languages import Direction
from nsmt.neurons.atlas import NeuronAtlas, unpack_bits
from nsmt.neurons.sites import Site, require_same_sites

# For a site's name, which neurons each sentence may use: bool [B, 1, F].
SiteMasks = Mapping[str, Tensor]


class DirectionMasks(nn.Module):
    """An atlas on the device; `forward` gives the masks of a batch that may mix directions."""

    packed_TP: Tensor

    def __init__(
        self, atlas: NeuronAtlas, directions: Sequence[Direction], *, sites: Sequence[Site]
    ) -> None:
        super().__init__()
        require_same_sites(tuple(sites), atlas.sites, what="the model and the atlas")
        chosen = atlas.select([str(direction) for direction in directions])
        self.atlas = chosen
        self.sites = chosen.sites
        packed_TP = torch.cat([chosen.packed[site.name] for site in self.sites], dim=-1)
        # Not persistent: a checkpoint stores the atlas itself.
        self.register_buffer("packed_TP", packed_TP, persistent=False)

    def forward(self, direction_B: Tensor) -> dict[str, Tensor]:
        """Unpack the masks of each sentence's direction, at every site."""
        bits_BF = unpack_bits(self.packed_TP[direction_B], 8 * self.packed_TP.shape[-1])
        masks, start = {}, 0
        for site in self.sites:
            masks[site.name] = bits_BF[:, None, start : start + site.width]
            start += (site.width + 7) // 8 * 8
        return masks
