"""Bottleneck adapters after every layer, one set for each group of directions, on a frozen model.

Bapna & Firat (2019, arXiv 1909.08478, section 2): what a layer puts out, its feed-forward residual
included, passes through layer norm, a projection down, ReLU and a projection up, and is added to
itself. A group is a direction, or a family of languages (Chronopoulou et al. 2023, arXiv
2209.15236). One adapter of width b on a stream of width d has 2db + b + d + 2d parameters.

A layer's adapters of all groups are stacked tensors, so that groups that are absent from a batch,
or from a rank's, have gradients that are zeros and not missing. All groups train together, on one
plan with one optimiser: as the base is frozen and groups share nothing, that is the training of
each by itself, but for Adam's momentum, which goes on in updates without a group, and the clipped
norm.

Shape suffixes: B rows, S positions of a row, Q positions of groups (1 if a row is one sentence's),
N positions of all rows, T directions, G groups, D model width, H width of the bottleneck, M blocks
of one group's positions each, L positions of a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nsmt.data.batch import BatchLayout
from nsmt.errors import AdapterError
from nsmt.languages import Direction, Halves
from nsmt.models.linear import linear
from nsmt.models.masks import Permits, direction_in
from nsmt.models.settings import ModelSettings, Size
from nsmt.settings import Settings

if TYPE_CHECKING:
    from nsmt.models.checkpoint import TrainedModel

# What a batch's groups are called among its masks, by stack.
KEYS: Final = {"encoder": "adapter.encoder", "decoder": "adapter.decoder"}
_BLOCK = 256


class AdapterSettings(Settings):
    """The shape of adapters."""

    bottleneck: Size = 256


class Adapters(nn.Module):
    """The adapters of every layer of both stacks, and whose they are.

    `group_of` names the group of each direction that the model may translate; groups are numbered
    in the order in which they appear there.
    """

    def __init__(
        self,
        model: ModelSettings,
        settings: AdapterSettings,
        group_of: Mapping[Direction, str],
    ) -> None:
        super().__init__()
        if not group_of:
            raise AdapterError("adapters of no direction", fix="name the group of a direction")
        self.settings = settings
        self.group_of = dict(group_of)
        self.groups = tuple(dict.fromkeys(group_of.values()))
        shape = (len(self.groups), model.d_model, settings.bottleneck)
        self.encoder = nn.ModuleList(LayerAdapters(*shape) for _ in range(model.encoder_layers))
        self.decoder = nn.ModuleList(LayerAdapters(*shape) for _ in range(model.decoder_layers))

    def anew(self, model: ModelSettings) -> Adapters:
        """New ones of the same groups and shape."""
        return Adapters(model, self.settings, self.group_of)

    def choice(
        self, directions: Sequence[Direction], halves: Mapping[Direction, Halves] | None = None
    ) -> AdapterChoice:
        """What tells the groups of batches whose directions are rows of `directions`.

        `halves` are directions whose adapters others have, on either side.
        """
        whole = {direction: Halves(direction, direction) for direction in directions}
        chosen = {**whole, **(halves or {})}
        return AdapterChoice(self.groups, self.group_of, [chosen[each] for each in directions])

    def routes(
        self, stack: str, choice: Mapping[str, Tensor] | None, positions: Sequence[int]
    ) -> Routes:
        """The way of [B, S] positions through a stack; once a batch, for all of its layers."""
        if choice is None or KEYS[stack] not in choice:
            raise ValueError("a model with adapters must be told the group of each position")
        group_N = choice[KEYS[stack]].expand(*positions).reshape(-1)
        if group_N.device.type == "cpu":
            return Turns.of(group_N, len(self.groups))
        return Blocks.of(group_N, len(self.groups))

    def after(self, stack: str, depth: int) -> LayerAdapters:
        """The adapters after one layer."""
        layer = (self.encoder if stack == "encoder" else self.decoder)[depth]
        assert isinstance(layer, LayerAdapters)  # noqa: S101 -- narrows the type
        return layer


class AdapterChoice(Permits):
    """The groups of some directions on the device; `forward` gives those of a batch's positions."""

    encoder_T: Tensor
    decoder_T: Tensor

    def __init__(
        self,
        groups: Sequence[str],
        group_of: Mapping[Direction, str],
        halves: Sequence[Halves],
    ) -> None:
        super().__init__()
        needed = dict.fromkeys(direction for both in halves for direction in both)
        if unknown := [str(each) for each in needed if each not in group_of]:
            raise AdapterError(
                f"the model has no adapters for {', '.join(unknown)}",
                fix="translate directions that adapters were trained for: "
                + ", ".join(map(str, group_of)),
            )
        # Not persistent: a checkpoint stores names.
        for name, half in (("encoder_T", 0), ("decoder_T", 1)):
            rows = [groups.index(group_of[both[half]]) for both in halves]
            self.register_buffer(name, torch.tensor(rows, dtype=torch.int64), persistent=False)

    def forward(self, batch: BatchLayout) -> dict[str, Tensor]:
        """The group of each position's direction by stack: int64 [B, Q]."""
        group_T = {"encoder": self.encoder_T, "decoder": self.decoder_T}
        return {key: group_T[stack][direction_in(batch, stack)] for stack, key in KEYS.items()}


class LayerAdapters(nn.Module):
    """The adapters of all groups after one layer; new ones change nothing, as `up` is zero."""

    def __init__(self, groups: int, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.ones(groups, width))
        self.norm_bias = nn.Parameter(torch.zeros(groups, width))
        self.down = nn.Parameter(torch.empty(groups, bottleneck, width))
        self.down_bias = nn.Parameter(torch.zeros(groups, bottleneck))
        self.up = nn.Parameter(torch.zeros(groups, width, bottleneck))
        self.up_bias = nn.Parameter(torch.zeros(groups, width))
        for each in self.down.data:
            nn.init.xavier_uniform_(each)

    def forward(self, x_BSD: Tensor, routes: Routes) -> Tensor:
        """x + up(relu(down(norm(x)))), each position by its own group's."""
        normed_ND = F.layer_norm(x_BSD, x_BSD.shape[-1:]).flatten(0, -2)
        parts = (self.norm, self.norm_bias, self.down, self.down_bias, self.up, self.up_bias)
        return x_BSD + routes.through(normed_ND, *parts).view_as(x_BSD)


@dataclass(frozen=True, slots=True)
class Turns:
    """Positions sorted by group, and groups one after the other: for a CPU.

    There the number of each group's positions is known without waiting, and weights are multiplied
    where they lie: 4,096 positions of width 512 take 0.15 s forwards and backwards in 16 groups and
    0.28 s in 60 on one core, in blocks 0.27 and 1.1 s. On a GPU it would be thousands of kernels.
    """

    order_N: Tensor
    place_N: Tensor
    counts: list[int]

    @classmethod
    def of(cls, group_N: Tensor, groups: int) -> Turns:
        """The turns of positions of these groups."""
        order_N = group_N.argsort(stable=True)
        return cls(order_N, _inverse(order_N), torch.bincount(group_N, minlength=groups).tolist())

    def through(self, normed_ND: Tensor, *parts: Tensor) -> Tensor:
        """What `parts`, see LayerAdapters, make of each position: [N, D]."""
        turns = torch.split(normed_ND.index_select(0, self.order_N), self.counts)
        # Unbound once: the gradients of a selected row are a tensor of all rows for each of them.
        rows = zip(*(part.unbind(0) for part in parts), strict=True)
        found = [
            linear(F.relu(linear(turn * norm + norm_bias, down, down_bias)), up, up_bias)
            for turn, (norm, norm_bias, down, down_bias, up, up_bias) in zip(
                turns, rows, strict=True
            )
            if len(turn)
        ]
        return torch.cat(found).index_select(0, self.place_N)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Positions in blocks of one size, each of one group: a batched product, for a GPU.

    The number of blocks follows from that of positions and groups, so that nothing waits for the
    device and shapes stay the same; some blocks are partly or wholly empty. torch's grouped product
    needs no copies of weights, but bf16 and widths that are multiples of 8, and differs between
    releases; here the copies are 0.1 GB a product for 30,720 positions of 60 directions, and are
    not kept.
    """

    slot_N: Tensor
    group_M: Tensor
    size: int

    @classmethod
    def of(cls, group_N: Tensor, groups: int) -> Blocks:
        """The blocks of positions of these groups."""
        count, device = len(group_N), group_N.device
        size = min(_BLOCK, max(16, 1 << (count // groups).bit_length()))
        # As many as there can be: all groups but one end in a block with a single position.
        blocks = min(count, (count + groups * (size - 1)) // size)
        sorted_N, order_N = group_N.sort(stable=True)
        group_G = torch.arange(groups, device=device)
        end_G = torch.searchsorted(sorted_N, group_G, right=True)
        length_G = end_G.diff(prepend=end_G.new_zeros(1))
        end_block_G = ((length_G + size - 1) // size).cumsum(0)
        first_slot_G = (end_block_G - (length_G + size - 1) // size) * size
        rank_N = torch.arange(count, device=device) - (end_G - length_G)[sorted_N]
        slot_N = (first_slot_G[sorted_N] + rank_N).index_select(0, _inverse(order_N))
        block_M = torch.arange(blocks, device=device)
        group_M = torch.searchsorted(end_block_G, block_M, right=True).clamp(max=groups - 1)
        return cls(slot_N, group_M, size)

    def through(self, normed_ND: Tensor, *parts: Tensor) -> Tensor:
        """What `parts`, see LayerAdapters, make of each position: [N, D]."""
        kind = _type_of_products(normed_ND)
        norm, norm_bias, down, down_bias, up, up_bias = (part.to(kind) for part in parts)
        filled = normed_ND.new_zeros(len(self.group_M) * self.size, normed_ND.shape[-1], dtype=kind)
        filled = filled.index_copy(0, self.slot_N, normed_ND.to(kind))
        x_MLD = filled.view(len(self.group_M), self.size, -1)
        x_MLD = torch.addcmul(self._own(norm_bias), x_MLD, self._own(norm))
        hidden_MLH = F.relu(_product(x_MLD, down, self.group_M) + self._own(down_bias))
        found_MLD = _product(hidden_MLH, up, self.group_M) + self._own(up_bias)
        return found_MLD.flatten(0, 1).index_select(0, self.slot_N)

    def _own(self, part_GD: Tensor) -> Tensor:
        """Each block's row: [M, 1, D]."""
        return F.embedding(self.group_M, part_GD)[:, None]


Routes = Turns | Blocks


def _product(x_MLD: Tensor, weight_GHD: Tensor, group_M: Tensor) -> Tensor:
    found: Tensor = _Product.apply(x_MLD, weight_GHD, group_M)  # type: ignore[no-untyped-call]
    return found


class _Product(torch.autograd.Function):
    """Each block times its group's weight, transposed; keeps no copies of weights."""

    @staticmethod
    def forward(ctx: Any, x_MLD: Tensor, weight_GHD: Tensor, group_M: Tensor) -> Tensor:  # noqa: ANN401 -- torch's protocol
        ctx.save_for_backward(x_MLD, weight_GHD, group_M)
        return torch.bmm(x_MLD, weight_GHD[group_M].transpose(1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_MLH: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x_MLD, weight_GHD, group_M = ctx.saved_tensors
        needs_x, needs_weight, _ = ctx.needs_input_grad
        of_x = torch.bmm(gradient_MLH, weight_GHD[group_M]) if needs_x else None
        of_weight = None
        if needs_weight:
            of_blocks = torch.bmm(gradient_MLH.transpose(1, 2), x_MLD).flatten(1)
            # A product, not additions in the order in which they come.
            group_G1 = torch.arange(len(weight_GHD), device=group_M.device)[:, None]
            of_weight = (group_G1 == group_M).to(of_blocks.dtype) @ of_blocks
            of_weight = of_weight.view_as(weight_GHD)
        return of_x, of_weight, None


def _type_of_products(x: Tensor) -> torch.dtype:
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype


def _inverse(order_N: Tensor) -> Tensor:
    place_N = torch.arange(len(order_N), device=order_N.device)
    return torch.empty_like(order_N).scatter_(0, order_N, place_N)


def with_adapters(
    trained: TrainedModel, groups: Mapping[Direction, str], settings: AdapterSettings
) -> TrainedModel:
    """The same model, in place, with a new set of adapters for each group and the rest frozen.

    `groups` names the group of every trained direction, and may name those of others that shall be
    translated. AdapterError if one is missing, or if there are masks or adapters already.
    """
    if not trained.is_plain:
        raise AdapterError(
            "the model has masks or adapters already",
            fix="start from the dense model that they are for",
        )
    adapters = Adapters(trained.model.settings, settings, groups)
    adapters.choice(trained.directions)
    trained.model.requires_grad_(False)  # noqa: FBT003 -- torch's own
    weight = trained.model.output.weight
    trained.model.adapters = adapters.to(weight.device, weight.dtype)
    return trained
