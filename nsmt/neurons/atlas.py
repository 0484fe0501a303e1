"""Which neurons belong to which task: named tasks x sites x bits.

An atlas of 60 directions over 12 sites of 4,096 neurons is 360 KiB on disk and in memory; the same
masks as boolean weight matrices take 2.81 GiB (design contract 4). The set algebra works on the
packed bytes and checks that both sides speak of the same tasks and sites.

Shape suffixes: T tasks, F neurons of a site, P bytes of packed bits (F/8 rounded up).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nsmt.errors import AtlasError
from nsmt.neurons.sites import Site, require_same_sites
from nsmt.neurons.storage import Header, read_tensors, write_tensors

_FORMAT = "nsmt.neuron_atlas"
_VERSION = 1


class _AtlasHeader(Header):
    # Of the atlas that was saved; files of before have none.
    fingerprint: str | None = None


def pack_bits(mask_F: Tensor) -> Tensor:
    """Pack a boolean tensor's last dimension into bytes, lowest bit first."""
    width = mask_F.shape[-1]
    padded = torch.nn.functional.pad(mask_F, (0, -width % 8)).to(torch.uint8)
    grouped = padded.reshape(*mask_F.shape[:-1], -1, 8)
    packed: Tensor = (grouped << _places(mask_F)).sum(-1, dtype=torch.uint8)
    return packed


def unpack_bits(packed_P: Tensor, width: int) -> Tensor:
    """Undo `pack_bits`: a boolean tensor whose last dimension is `width`."""
    bits = (packed_P[..., None] >> _places(packed_P)) & 1
    return bits.flatten(-2)[..., :width].to(torch.bool)


def _places(like: Tensor) -> Tensor:
    # Made where it is needed: a copy from the host would make a GPU wait.
    return torch.arange(8, dtype=torch.uint8, device=like.device)


class NeuronAtlas:
    """For each task and site, a set of neurons; immutable, with its provenance."""

    def __init__(
        self,
        tasks: Sequence[str],
        sites: Sequence[Site],
        packed: Mapping[str, Tensor],
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self.sites = tuple(sites)
        self.packed = dict(packed)
        self.provenance = dict(provenance or {})
        self._rows = {task: row for row, task in enumerate(self.tasks)}
        if len(self._rows) != len(self.tasks):
            raise AtlasError("a task is named twice", fix="give every task one name")
        for site in self.sites:
            expected = (len(self.tasks), (site.width + 7) // 8)
            found = tuple(self.packed[site.name].shape) if site.name in self.packed else None
            if found != expected:
                raise AtlasError(
                    f"site {site.name} has bits of shape {found}, not {expected}",
                    fix="make the atlas again",
                )
            if self.packed[site.name].dtype != torch.uint8:
                raise AtlasError(
                    f"site {site.name} holds {self.packed[site.name].dtype}, not packed bits",
                    fix="make the atlas again",
                )

    @classmethod
    def from_masks(
        cls,
        tasks: Sequence[str],
        sites: Sequence[Site],
        masks_TF: Mapping[str, Tensor],
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> NeuronAtlas:
        """Pack boolean masks, one [T, F] tensor a site name."""
        packed = {}
        for site in sites:
            if masks_TF[site.name].shape != (len(tasks), site.width):
                raise AtlasError(
                    f"the masks of {site.name} have shape {tuple(masks_TF[site.name].shape)}",
                    fix=f"give one row of {site.width} a task",
                )
            packed[site.name] = pack_bits(masks_TF[site.name])
        return cls(tasks, sites, packed, provenance=provenance)

    def row(self, task: str) -> int:
        """The row of `task` in the tensors of this atlas; unknown tasks are an AtlasError."""
        if task not in self._rows:
            raise AtlasError(
                f"the atlas has no neurons for '{task}'",
                fix=f"use one of {', '.join(self.tasks)}, or identify the neurons of '{task}'",
            )
        return self._rows[task]

    def mask(self, task: str, site: Site) -> Tensor:
        """The neurons of `task` at `site`: bool [F]."""
        return unpack_bits(self.packed[site.name][self.row(task)], site.width)

    def masks(self, site: Site) -> Tensor:
        """The neurons of every task at `site`: bool [T, F]."""
        return unpack_bits(self.packed[site.name], site.width)

    def stack(self, name: str) -> tuple[Site, ...]:
        """The sites of one stack, by depth."""
        return tuple(sorted(site for site in self.sites if site.stack == name))

    def select(self, tasks: Sequence[str]) -> NeuronAtlas:
        """The atlas of some of the tasks, in the order given."""
        rows = torch.tensor([self.row(task) for task in tasks], dtype=torch.int64)
        packed = {name: bits[rows] for name, bits in self.packed.items()}
        return NeuronAtlas(tasks, self.sites, packed, provenance=self.provenance)

    def __and__(self, other: NeuronAtlas) -> NeuronAtlas:
        return self._combine(other, torch.bitwise_and, "intersection")

    def __or__(self, other: NeuronAtlas) -> NeuronAtlas:
        return self._combine(other, torch.bitwise_or, "union")

    def __xor__(self, other: NeuronAtlas) -> NeuronAtlas:
        return self._combine(other, torch.bitwise_xor, "symmetric difference")

    def __sub__(self, other: NeuronAtlas) -> NeuronAtlas:
        return self._combine(other, lambda a, b: a & ~b, "difference")

    def __invert__(self) -> NeuronAtlas:
        masks = {site.name: ~self.masks(site) for site in self.sites}
        provenance = {"operation": "complement", "of": self.provenance, **_measured_on(self)}
        return NeuronAtlas.from_masks(self.tasks, self.sites, masks, provenance=provenance)

    def __eq__(self, other: object) -> bool:
        """Equal tasks, sites and neurons; provenance does not count."""
        if not isinstance(other, NeuronAtlas):
            return NotImplemented
        return (
            self.tasks == other.tasks
            and self.sites == other.sites
            and all(torch.equal(bits, other.packed[name]) for name, bits in self.packed.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def _combine(
        self, other: NeuronAtlas, operation: Callable[[Tensor, Tensor], Tensor], name: str
    ) -> NeuronAtlas:
        require_same_sites(self.sites, other.sites, what="the atlases")
        if self.tasks != other.tasks:
            raise AtlasError(
                f"the {name} of atlases with different tasks is not defined",
                fix="select the same tasks from both first",
            )
        packed = {key: operation(bits, other.packed[key]) for key, bits in self.packed.items()}
        of = [self.provenance, other.provenance]
        provenance = {"operation": name, "of": of, **_measured_on(self, other)}
        return NeuronAtlas(self.tasks, self.sites, packed, provenance=provenance)

    @property
    def fingerprint(self) -> str:
        """The sha256 of which neurons which tasks use, wherever that comes from."""
        names = [self.tasks, [(site.name, site.width) for site in self.sites]]
        digest = hashlib.sha256(json.dumps(names).encode())
        for site in self.sites:
            digest.update(self.packed[site.name].cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write safetensors, with names and provenance as JSON in the header."""
        header = _AtlasHeader(
            format=_FORMAT,
            version=_VERSION,
            tasks=self.tasks,
            sites=tuple((site.name, site.width) for site in self.sites),
            provenance=self.provenance,
            fingerprint=self.fingerprint,
        )
        write_tensors(path, header, self.packed)

    @classmethod
    def load(cls, path: Path) -> NeuronAtlas:
        """Read what `save` wrote; anything else, or an altered file, is an AtlasError."""
        header, tensors = read_tensors(path, _AtlasHeader, format_name=_FORMAT, version=_VERSION)
        sites = [Site.parse(name, width) for name, width in header.sites]
        atlas = cls(header.tasks, sites, tensors, provenance=header.provenance)
        if header.fingerprint not in (None, atlas.fingerprint):
            raise AtlasError(
                f"{path} was altered: these are not the neurons that were saved",
                fix="make it again",
            )
        return atlas


def _measured_on(*atlases: NeuronAtlas) -> dict[str, Any]:
    """The statistics that atlases come from, where all come from the same: as provenance."""
    first, *others = (atlas.provenance.get("statistics") for atlas in atlases)
    same = first is not None and all(other == first for other in others)
    return {"statistics": first} if same else {}
