"""Which weights of a model each direction uses: named directions x weight matrices x bits.

LaSS (Lin et al. 2021, arXiv 2105.09259, section 3.2) fine-tunes the multilingual model on each
direction and keeps, of every weight matrix by itself, the share 1 - α of largest magnitude. Masks
are on the attention's projections and both feed-forward weights, never on embeddings, norms and
biases. What its code does to the output projection is an option here: its two switches that would
leave it out have no effect, so that the released masks cover it.

Decisions where the paper and its code leave a choice:

- exactly ⌈(1-α)·n⌉ of n weights are kept, in exact arithmetic; the code drops whatever is not
  above the ⌊α·n⌋-th smallest magnitude, which is the same number unless magnitudes are equal, or
  α·n in floating point is rounded past an integer;
- of equal magnitudes, the weight with the lower index is kept first.

A set costs a bit a weight: for 60 directions of the paper's large model 1.23 GiB, where a byte
each takes 9.84 GiB.

Shape suffixes: T directions, P bytes of packed bits (the weights of a matrix / 8, rounded up).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from nsmt.errors import AtlasError
from nsmt.neurons.atlas import pack_bits
from nsmt.neurons.storage import TaskHeader, read_tensors, write_tensors

# Which stacks have masks. The released code's `--gen-part encoder` masks the decoder's attention to
# the encoder too, since it goes by the name.
Scope = Literal["encoder", "decoder", "all"]
OUTPUT: Final = "output.weight"

_FORMAT = "nsmt.weight_masks"
_VERSION = 1


def maskable_weights(
    model: nn.Module, *, scope: Scope = "all", output_projection: bool = False
) -> dict[str, Tensor]:
    """The weights that LaSS masks, by name: those of all linear layers of the stacks in `scope`.

    The output projection counts to the decoder, as in the released code. Where it is tied to the
    embeddings, its mask is for the projection alone: embeddings are used whole.
    """
    stacks: set[str] = {"encoder", "decoder"} if scope == "all" else {scope}
    if output_projection and "decoder" in stacks:
        stacks.add(OUTPUT.partition(".")[0])
    return {
        f"{name}.weight": layer.weight
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.partition(".")[0] in stacks
    }


def kept_count(size: int, rate: float | Fraction) -> int:
    """How many of `size` weights are kept where the share `rate` is dropped: ⌈(1 - rate)·size⌉.

    A float means the decimal number that it is written as: 0.7 is 7/10.
    """
    exact = rate if isinstance(rate, Fraction) else Fraction(str(rate))
    if not 0 <= exact <= 1:
        raise ValueError(f"the rate of dropped weights is between 0 and 1, not {rate}")
    return math.ceil((1 - exact) * size)


def magnitude_masks(weights: Mapping[str, Tensor], rate: float | Fraction) -> dict[str, Tensor]:
    """True where a matrix's weight is one of its ⌈(1 - rate)·n⌉ of largest magnitude.

    Booleans of the weights' shapes. A weight that is no number is an AtlasError.
    """
    return {
        name: _largest(name, each, kept_count(each.numel(), rate)) for name, each in weights.items()
    }


def _largest(name: str, weight: Tensor, count: int) -> Tensor:
    magnitude = weight.detach().flatten().abs()
    if magnitude.isnan().any():
        raise AtlasError(
            f"{name} holds values that are no numbers",
            fix="fine-tune again, with a lower optimizer.learning_rate",
        )
    if not count:
        return torch.zeros_like(weight, dtype=torch.bool)
    smallest = magnitude.kthvalue(len(magnitude) - count + 1).values
    above, equal = magnitude > smallest, magnitude == smallest
    among_equals = equal.cumsum(0) <= count - above.sum()
    return (above | (equal & among_equals)).view_as(weight)


class WeightMasks:
    """For each direction and weight matrix, which weights it uses; immutable, with provenance."""

    def __init__(
        self,
        tasks: Sequence[str],
        shapes: Mapping[str, Sequence[int]],
        packed: Mapping[str, Tensor],
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.packed = dict(packed)
        self.provenance = dict(provenance or {})
        self._rows = {task: row for row, task in enumerate(self.tasks)}
        if len(self._rows) != len(self.tasks):
            raise AtlasError("a direction is named twice", fix="give every direction one name")
        if self.packed.keys() != self.shapes.keys():
            strange = sorted(self.packed.keys() ^ self.shapes.keys())
            raise AtlasError(
                f"weight masks have shapes or bits alone of {', '.join(strange)}",
                fix="make the masks again",
            )
        for name, shape in self.shapes.items():
            self._check(name, math.prod(shape))

    def _check(self, name: str, size: int) -> None:
        bits_TP = self.packed[name]
        expected = (len(self.tasks), _packed_size(size))
        if tuple(bits_TP.shape) != expected or bits_TP.dtype != torch.uint8:
            raise AtlasError(
                f"the masks of {name} are {bits_TP.dtype} of shape {tuple(bits_TP.shape)}, "
                f"not bytes of shape {expected}",
                fix="make the masks again",
            )
        # Counting bytes must count no weight that does not exist.
        if size % 8 and (bits_TP[:, -1] >> (size % 8)).any():
            raise AtlasError(
                f"the masks of {name} name weights behind its last", fix="make the masks again"
            )

    @classmethod
    def from_masks(
        cls,
        masks: Iterable[tuple[str, Mapping[str, Tensor]]],
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> WeightMasks:
        """Pack each direction's boolean masks, taken one after the other.

        All directions must have the same weights, of the same shapes; else it is an AtlasError.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        rows: dict[str, list[Tensor]] = {}
        tasks: list[str] = []
        for task, own in masks:
            found = {name: tuple(mask.shape) for name, mask in own.items()}
            if tasks and found != shapes:
                raise AtlasError(
                    f"the masks of {task} are of other weights than those of {tasks[0]}",
                    fix="make the masks of all directions from models of one shape",
                )
            shapes = found
            tasks.append(task)
            for name, mask in own.items():
                rows.setdefault(name, []).append(pack_bits(mask.flatten()).cpu())
        packed = {name: torch.stack(bits) for name, bits in rows.items()}
        return cls(tasks, shapes, packed, provenance=provenance)

    @classmethod
    def joined(cls, parts: Sequence[WeightMasks]) -> WeightMasks:
        """The masks of several sets of directions; AtlasError if they are of other weights."""
        first = parts[0]
        if any(part.shapes != first.shapes for part in parts):
            raise AtlasError(
                "weight masks of models of different shapes cannot be joined",
                fix="make the masks of all directions from models of one shape",
            )
        packed = {name: torch.cat([part.packed[name] for part in parts]) for name in first.packed}
        tasks = [task for part in parts for task in part.tasks]
        provenance = {"joined": [part.provenance for part in parts]}
        return cls(tasks, first.shapes, packed, provenance=provenance)

    def row(self, task: str) -> int:
        """The row of a direction in `packed`; unknown ones are an AtlasError."""
        if task not in self._rows:
            raise AtlasError(
                f"there are no weight masks for '{task}'",
                fix=f"use one of {', '.join(self.tasks)}",
            )
        return self._rows[task]

    @property
    def nbytes(self) -> int:
        """What the bits take."""
        return sum(bits_TP.numel() for bits_TP in self.packed.values())

    def select(self, tasks: Sequence[str]) -> WeightMasks:
        """The masks of some directions, in the order given."""
        rows = torch.tensor([self.row(task) for task in tasks], dtype=torch.int64)
        packed = {name: bits_TP[rows] for name, bits_TP in self.packed.items()}
        return WeightMasks(tasks, self.shapes, packed, provenance=self.provenance)

    def require_fit(self, model: nn.Module) -> None:
        """Raise an AtlasError unless the model has these weights, in these shapes."""
        own = maskable_weights(model, output_projection=True)
        found = {name: tuple(own[name].shape) for name in self.shapes if name in own}
        if wrong := [name for name, shape in self.shapes.items() if found.get(name) != shape]:
            raise AtlasError(
                f"the weight masks belong to another model: {wrong[0]} is "
                f"{found.get(wrong[0], 'no weight')} there, {self.shapes[wrong[0]]} here",
                fix="use the masks that were made for this model",
            )

    def __eq__(self, other: object) -> bool:
        """Equal directions, weights and bits; provenance does not count."""
        if not isinstance(other, WeightMasks):
            return NotImplemented
        return (
            self.tasks == other.tasks
            and self.shapes == other.shapes
            and all(torch.equal(bits, other.packed[name]) for name, bits in self.packed.items())
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def fingerprint(self) -> str:
        """The sha256 of which weights which directions use, wherever that comes from."""
        digest = hashlib.sha256(json.dumps([self.tasks, list(self.shapes.items())]).encode())
        for name in self.shapes:
            digest.update(self.packed[name].cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write safetensors, with names, shapes and provenance as JSON in the header."""
        header = _Header(
            format=_FORMAT,
            version=_VERSION,
            tasks=self.tasks,
            provenance=self.provenance,
            weights=tuple(self.shapes.items()),
        )
        write_tensors(path, header, self.packed)

    @classmethod
    def load(cls, path: Path) -> WeightMasks:
        """Read what `save` wrote; anything else is an AtlasError."""
        header, tensors = read_tensors(path, _Header, format_name=_FORMAT, version=_VERSION)
        return cls(header.tasks, dict(header.weights), tensors, provenance=header.provenance)


class _Header(TaskHeader):
    weights: tuple[tuple[str, tuple[int, ...]], ...]


def _packed_size(size: int) -> int:
    return (size + 7) // 8
