"""A model under intervention for the length of a `with` block.

Each distinct program is one row of a table of scales and shifts at each site that it touches, and
each row of a batch has a program, so that one batch may hold many languages. A site that no program
touches is not hooked at all, and an untouched neuron keeps its bits: it is multiplied by one and
-0.0 is added, which changes no number. So nothing is what strength 0 does.

Works under `generate` with its cache and, where it is told how many, with beams.

Shape suffixes: P programs, B rows of a batch, S positions, F neurons of a site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from nsmt.errors import ConfigurationError
from nsmt.neurons.sites import Site
from nsmt.neurons.taps import Look, Taps, attached
from nsmt.steering.interventions import (
    Affine,
    LanguageNeurons,
    Program,
    affine,
    require_effective,
)


class Placing(Protocol):
    """Which program each row of the running forward pass has.

    `state` is another number where `of` would tell other programs.
    """

    @property
    def state(self) -> int: ...  # noqa: D102 -- told above

    def of(self, activation: Tensor) -> Tensor:
        """The programs of the rows of activations, int64 [B] on their device."""
        ...


class Rows:
    """The programs of the rows of a language model, or one for all.

    `batch` follows the model's forward passes, as a block may have flattened rows and positions
    (OPT does). Each of a row's `beams` has its program.
    """

    def __init__(self, program_B: Sequence[int], *, beams: int = 1) -> None:
        self._program_B = torch.tensor(program_B, dtype=torch.int64).repeat_interleave(beams)
        self.batch = len(self._program_B)

    @property
    def state(self) -> int:
        """The number of rows, which is all that differs between forward passes."""
        return self.batch

    def of(self, activation: Tensor) -> Tensor:
        """The programs of the rows of activations, int64 [B] on their device."""
        if self.batch != len(self._program_B):
            raise ConfigurationError(
                f"a batch of {self.batch} rows is steered with programs for {len(self._program_B)}",
                fix="give one program for all rows, or one for each, and the number of beams",
            )
        if self._program_B.device != activation.device:
            self._program_B = self._program_B.to(activation.device)
        return self._program_B

    @contextmanager
    def following(self, model: nn.Module) -> Iterator[None]:
        """Learn the number of rows of each forward pass of a model of `transformers`."""

        def see(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            first = inputs[0] if inputs else named.get("input_ids")
            self.batch = len(named["inputs_embeds"] if first is None else first)

        handle = model.register_forward_pre_hook(see, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def steered(
    model: nn.Module,
    taps: Taps,
    programs: Sequence[Program],
    neurons: LanguageNeurons,
    *,
    beams: int = 1,
    seed: int | str = 0,
) -> Iterator[None]:
    """Intervene in every forward pass of `model` within the block.

    `programs` is one for all rows, or one for each row of the batches to come, of which each has so
    many `beams` under `generate`; a batch of other rows is a ConfigurationError, unless all rows
    have the same program. `seed` is for the operations that draw noise: each site has its own, the
    same after every start.
    """
    distinct = list(dict.fromkeys(programs))
    for program in distinct:
        require_effective(program, neurons)
    rows = Rows([distinct.index(program) for program in programs], beams=beams)
    looks: dict[Site, Look] = {}
    for site in taps:
        table = [affine(program, neurons, site) for program in distinct]
        if any(bool(done.touched_F.any()) for done in table):
            looks[site] = applied(table, rows, seed=f"{seed}/{site.name}")
    with ExitStack() as stack:
        if len(distinct) > 1:
            stack.enter_context(rows.following(model))
        stack.enter_context(attached(taps, looks))
        yield


def applied(table: Sequence[Affine], rows: Placing, *, seed: str) -> Look:
    """What changes the activations of a site: the tables move to their device and type once."""
    scale_PF = torch.stack([done.scale_F for done in table])
    shift_PF = torch.stack([torch.where(done.touched_F, done.shift_F, -0.0) for done in table])
    noise_PF = torch.stack([done.noise_F for done in table])
    draw = _normal(seed) if bool(noise_PF.any()) else None
    kept: dict[tuple[torch.device, torch.dtype, int], list[Tensor]] = {}

    def tables(activation: Tensor) -> list[Tensor]:
        """Scale, shift and noise: [F], or of rows [B, 1, F], made once for a state of the rows."""
        key = (activation.device, activation.dtype, rows.state)
        if key not in kept:
            program_B = rows.of(activation)
            every = [each.to(activation) for each in (scale_PF, shift_PF, noise_PF)]
            kept.clear()
            kept[key] = [e[0] if len(table) == 1 else e[program_B, None] for e in every]
        return kept[key]

    def look(activation: Tensor) -> Tensor:
        scale, shift, noise = tables(activation)
        by_row = activation
        if len(table) > 1:
            # [B, S, F], also where a block has flattened rows and positions.
            by_row = activation.view(len(scale), -1, activation.shape[-1])
        changed = torch.addcmul(shift, by_row, scale)
        if draw is not None:
            changed = draw(changed, noise)
        return changed.view_as(activation)

    return look


def _normal(seed: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Adds noise of given deviations; drawn on the host, so the same on every device."""
    digest = hashlib.sha256(seed.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]))

    def draw(activation: Tensor, deviation: Tensor) -> Tensor:
        drawn = torch.randn(activation.shape, generator=generator).to(activation)
        return torch.addcmul(activation, drawn, deviation)

    return draw
