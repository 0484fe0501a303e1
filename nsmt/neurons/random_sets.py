"""Random neuron sets: the controls of sets that were chosen for a reason.

The paper's "Random" (arXiv 2404.11201, Table 2) is reported as random neurons; its released code
draws each weight by itself. Here neurons are drawn: as many as another atlas has at each site, or
each with the same probability.

Sets of several tasks that are used at once need a control with the same overlaps too: sets that are
drawn one by one hardly overlap, so that their union is larger. `permuted` keeps both.

The bits of Philox are the same on every machine and in every release of NumPy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import Site


def random_like(atlas: NeuronAtlas, *, seed: int | str) -> NeuronAtlas:
    """For each task and site, as many neurons as `atlas` has there, drawn at random."""
    masks = {}
    for site in atlas.sites:
        masks[site.name] = torch.stack(
            [
                _lowest(_draws(f"{seed}/{task}/{site.name}", site.width), int(chosen_F.sum()))
                for task, chosen_F in zip(atlas.tasks, atlas.masks(site), strict=True)
            ]
        )
    provenance = {"rule": "random", "seed": seed, "like": atlas.fingerprint}
    return NeuronAtlas.from_masks(atlas.tasks, atlas.sites, masks, provenance=provenance)


def permuted(atlas: NeuronAtlas, *, seed: int | str) -> NeuronAtlas:
    """The neurons of each site permuted at random, in the same way for all tasks.

    So the sizes at each site of sets, and of all unions and intersections of them, stay.
    """
    masks = {site.name: atlas.masks(site)[:, permutation(site, seed=seed)] for site in atlas.sites}
    provenance = {"rule": "permuted", "seed": seed, "like": atlas.fingerprint}
    if "statistics" in atlas.provenance:
        provenance["statistics"] = atlas.provenance["statistics"]
    return NeuronAtlas.from_masks(atlas.tasks, atlas.sites, masks, provenance=provenance)


def permutation(site: Site, *, seed: int | str) -> Tensor:
    """The neurons of a site in the order in which `permuted` has them: int64 [F]."""
    order_F = np.argsort(_draws(f"{seed}/{site.name}", site.width), kind="stable")
    return torch.from_numpy(order_F.copy())


def bernoulli(
    tasks: Sequence[str], sites: Sequence[Site], *, rate: float, seed: int | str
) -> NeuronAtlas:
    """Each neuron of each task with probability `rate`, in [0, 1]."""
    if not 0 <= rate <= 1:
        raise AtlasError(f"rate = {rate} is no probability", fix="choose a rate from 0 to 1")
    masks = {
        site.name: torch.stack(
            [
                torch.from_numpy(_draws(f"{seed}/{task}/{site.name}", site.width) / 2.0**64 < rate)
                for task in tasks
            ]
        )
        for site in sites
    }
    provenance = {"rule": "bernoulli", "seed": seed, "rate": rate}
    return NeuronAtlas.from_masks(tasks, sites, masks, provenance=provenance)


def _draws(name: str, width: int) -> np.ndarray:
    """A random uint64 for each neuron, of a name of its own."""
    key = hashlib.sha256(name.encode()).digest()[:16]
    drawn: np.ndarray = np.random.Philox(key=int.from_bytes(key)).random_raw(width)
    return drawn


def _lowest(draws_F: np.ndarray, count: int) -> Tensor:
    chosen_F = torch.zeros(len(draws_F), dtype=torch.bool)
    chosen_F[torch.from_numpy(np.argsort(draws_F, kind="stable")[:count].copy())] = True
    return chosen_F
