"""Do directions pull the weights the same way: cosines between their gradients.

Neuron Specialization masks rows of the first feed-forward weight so that directions do not disturb
each other there. So gradients are compared by who owns a row: rows of both directions of a pair, of
exactly one, of neither, and all other parameters. Gradients are of the mean nll a target token on
as many validation tokens for each direction, without dropout and label smoothing, each direction
with its own masks if the model has any: rows that it may not use then have no gradient, and where
one side has none the cosine is not defined (NaN).

Memory: parameters are taken in portions whose float32 gradients of all directions fit into the
given room, 4 bytes x directions x parameters, and every portion takes another pass over the
sentences. Of a portion only inner products remain, summed in float64.

Shape suffixes: T directions, F rows of a site, D model width, N parameters of a portion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.masks import Permits
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import Site
from nsmt.probing.sentences import Sample

BOTH, ONE, NEITHER = "owned by both", "owned by one", "owned by neither"
OTHER_PARAMETERS = "other parameters"
PARTS = (BOTH, ONE, NEITHER, OTHER_PARAMETERS)
ALL = "all"
OUTSIDE = "outside the layers"
_IN_LAYER = re.compile(r"(encoder|decoder)\.(\d+)\.")
_FIRST = "feed_forward.fc1.weight"
# Numbers that are turned into float64 at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Products:
    """Inner products of gradients on some parameters: float64 [T, T], on the CPU.

    `dot_TT[i, j]` is g_i·g_j and `square_TT[i, j]` is g_i·g_i on the parameters that the pair is
    compared on, which may differ between pairs.
    """

    dot_TT: Tensor
    square_TT: Tensor

    def __add__(self, other: Products) -> Products:
        return Products(self.dot_TT + other.dot_TT, self.square_TT + other.square_TT)

    def cosine(self) -> Tensor:
        """The cosines: float64 [T, T], NaN where a gradient is zero."""
        length_TT = (self.square_TT * self.square_TT.T).sqrt()
        return torch.where(length_TT > 0, self.dot_TT / length_TT, torch.nan)


# By part and place: a layer ("encoder.0"), a stack, or all.
ByPart = dict[str, dict[str, Products]]


@dataclass(frozen=True, slots=True)
class Portion:
    """Rows `start` to `stop` of a parameter (of a vector: elements)."""

    name: str
    start: int
    stop: int
    numbers: int


def gradient_products(
    trained: TrainedModel,
    samples: Mapping[Direction, Sample],
    owners: NeuronAtlas | None,
    *,
    memory: int,
) -> ByPart:
    """All inner products, by part and place; `memory` is in bytes, `owners` says whose rows are.

    Places are the layers, each stack, and all of a part. Without owners all parameters are other
    parameters. The model is left as it is.
    """
    sites = () if owners is None else trained.model.sites
    site_of = {f"{site.name}.{_FIRST}": site for site in sites}
    found: ByPart = {part: {} for part in (PARTS if owners else (OTHER_PARAMETERS,))}
    for portions in portions_of(trained, directions=len(samples), memory=memory):
        kept = _kept_gradients(trained, samples, portions)
        for portion in portions:
            rows_TND = kept.pop(portion)
            if owners is not None and portion.name in site_of:
                site = site_of[portion.name]
                owner_TF = owners.select([str(each) for each in samples]).masks(site)
                owner_TF = owner_TF[:, portion.start : portion.stop]
                for part, products in by_ownership(rows_TND, owner_TF).items():
                    _add(found[part], site.name, products)
            else:
                _add(found[OTHER_PARAMETERS], _place_of(portion.name), _gram(rows_TND.flatten(1)))
    return {part: _with_totals(of_place, trained.model.sites) for part, of_place in found.items()}


def total(products: ByPart) -> Products:
    """The inner products of whole gradients."""
    parts = [of_place[ALL] for of_place in products.values()]
    dot_TT = sum((each.dot_TT for each in parts), torch.zeros_like(parts[0].dot_TT))
    square_T = dot_TT.diagonal()
    return Products(dot_TT, square_T[:, None].expand_as(dot_TT).clone())


def masks_for(trained: TrainedModel, directions: Sequence[Direction]) -> list[Permits | None]:
    """Each direction's own masks, on the model's device; batches of samples name no other."""
    device = next(trained.model.parameters()).device
    found: list[Permits | None] = []
    for direction in directions:
        masks = trained.masks([direction])
        found.append(None if masks is None else masks.to(device))
    return found


def gradient(
    trained: TrainedModel,
    sample: Sample,
    masks: Permits | None,
    names: Sequence[str],
) -> dict[str, Tensor]:
    """The gradient of the mean nll a token on some parameters, in nats; none is left in `.grad`."""
    model = trained.model.eval()
    parameters = dict(model.named_parameters())
    chosen = [parameters[name] for name in names]
    found = [torch.zeros_like(each, dtype=torch.float32) for each in chosen]
    for batch in sample.batches:
        hidden_BTD = model(batch, None if masks is None else masks(batch))
        loss, _ = smoothed_cross_entropy(
            batch.counted(hidden_BTD),
            model.output.weight,
            batch.counted(batch.target_out_BT),
            smoothing=0.0,
        )
        parts = torch.autograd.grad(loss / sample.tokens, chosen, materialize_grads=True)
        for whole, part in zip(found, parts, strict=True):
            whole += part
    return dict(zip(names, found, strict=True))


def by_ownership(rows_TFD: Tensor, owner_TF: Tensor) -> dict[str, Products]:
    """Inner products over the rows of both directions of a pair, of one of them, and of neither."""
    count, rows = owner_TF.shape
    empty = torch.zeros(count, count, dtype=torch.float64)
    found = {part: Products(empty, empty) for part in (BOTH, ONE, NEITHER)}
    step = max(1, _BLOCK // (count * rows_TFD.shape[-1]))
    for start in range(0, rows, step):
        block_FTD = rows_TFD[:, start : start + step].double().transpose(0, 1)
        dot_FTT = (block_FTD @ block_FTD.transpose(1, 2)).cpu()
        square_FT1 = dot_FTT.diagonal(dim1=1, dim2=2)[..., None]
        owner_FT = owner_TF[:, start : start + step].T
        mine_FTT, theirs_FTT = owner_FT[:, :, None], owner_FT[:, None, :]
        classes = {
            BOTH: mine_FTT & theirs_FTT,
            ONE: mine_FTT ^ theirs_FTT,
            NEITHER: ~(mine_FTT | theirs_FTT),
        }
        for part, counted_FTT in classes.items():
            found[part] += Products(
                (dot_FTT * counted_FTT).sum(0), (square_FT1 * counted_FTT).sum(0)
            )
    return found


def portions_of(trained: TrainedModel, *, directions: int, memory: int) -> Iterator[list[Portion]]:
    """All parameters once, in portions whose gradients of all directions fit into `memory` bytes.

    A single row is never cut, so that a portion has one at least.
    """
    room = max(1, memory // (4 * directions))
    members: list[Portion] = []
    left = room
    for name, parameter in trained.model.named_parameters():
        rows, width = parameter.shape[0], parameter[0].numel()
        start = 0
        while start < rows:
            fitting = max(0, min(rows - start, left // width))
            if fitting == 0 and members:
                yield members
                members, left = [], room
                continue
            fitting = max(1, fitting)
            members.append(Portion(name, start, start + fitting, fitting * width))
            left -= fitting * width
            start += fitting
    if members:
        yield members


def _kept_gradients(
    trained: TrainedModel, samples: Mapping[Direction, Sample], portions: Sequence[Portion]
) -> dict[Portion, Tensor]:
    """For each portion the gradients of all directions: [T, rows, …]."""
    names = list(dict.fromkeys(portion.name for portion in portions))
    kept: dict[Portion, Tensor] = {}
    masks = masks_for(trained, list(samples))
    for row, (sample, own) in enumerate(zip(samples.values(), masks, strict=True)):
        found = gradient(trained, sample, own, names)
        for portion in portions:
            part = found[portion.name][portion.start : portion.stop]
            if portion not in kept:
                kept[portion] = part.new_empty(len(samples), *part.shape)
            kept[portion][row] = part
    return kept


def _gram(flat_TN: Tensor) -> Products:
    count = len(flat_TN)
    dot_TT = torch.zeros(count, count, dtype=torch.float64)
    for block_TN in torch.split(flat_TN, max(1, _BLOCK // count), dim=1):
        wide_TN = block_TN.double()
        dot_TT += (wide_TN @ wide_TN.T).cpu()
    return Products(dot_TT, dot_TT.diagonal()[:, None].expand_as(dot_TT).clone())


def _place_of(name: str) -> str:
    match = _IN_LAYER.match(name)
    return f"{match[1]}.{match[2]}" if match else OUTSIDE


def _add(of_place: dict[str, Products], place: str, products: Products) -> None:
    of_place[place] = of_place[place] + products if place in of_place else products


def _with_totals(of_place: dict[str, Products], sites: Sequence[Site]) -> dict[str, Products]:
    """The same by depth, with the sums over each stack and over all."""
    ordered = {site.name: of_place[site.name] for site in sites if site.name in of_place}
    stacks: dict[str, Products] = {}
    for site in sites:
        if site.name in of_place:
            _add(stacks, site.stack, of_place[site.name])
            _add(stacks, ALL, of_place[site.name])
    if OUTSIDE in of_place:
        stacks[OUTSIDE] = of_place[OUTSIDE]
        _add(stacks, ALL, of_place[OUTSIDE])
    return ordered | stacks
