"""Interventions on the feed-forward neurons of an encoder-decoder, direction by direction.

What a program does, and how it reaches an activation, is as in language models
(`nsmt.steering.interventions`, `nsmt.neurons.taps`). Here a stack has neurons of its own, a
program belongs to a direction, and a batch mixes directions: padded, packed, or in a search whose
rows leave the batch as their sentences are done. The beams of a sentence are positions of its row,
so that nothing has to follow their order.

Shape suffixes: N rows, or all positions of a packed batch; T directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nsmt.data.batch import BatchLayout
from nsmt.errors import ConfigurationError
from nsmt.languages import Direction
from nsmt.models.masks import direction_in
from nsmt.models.transformer import Transformer
from nsmt.neurons.sites import Site
from nsmt.neurons.taps import Look, attached, input_taps
from nsmt.steering.interventions import LanguageNeurons, Program, affine, require_effective
from nsmt.steering.steered import applied

# By stack.
Programs = Mapping[str, Program]


@dataclass(frozen=True, slots=True)
class Steering:
    """What is done to a translation model: the neurons of each stack, a program a direction.

    A stack that a direction has no program for is left alone. `seed` is for noise.
    """

    neurons: Mapping[str, LanguageNeurons]
    programs: Mapping[Direction, Programs]
    seed: int | str = 0

    def of(self, direction: Direction, stack: str) -> Program:
        """The program of a direction in a stack; an unknown direction is a ConfigurationError."""
        if direction not in self.programs:
            raise ConfigurationError(
                f"nothing is said of what to do to the neurons in {direction}",
                fix="give each direction programs, or an empty mapping to leave it alone",
            )
        return self.programs[direction].get(stack, ())

    def require_known(self, directions: Sequence[Direction]) -> None:
        """A ConfigurationError for a program of a stack whose neurons are not here."""
        programs = [self.programs.get(direction, {}) for direction in directions]
        stacks = {stack for each in programs for stack, program in each.items() if program}
        if unknown := sorted(stacks - self.neurons.keys()):
            raise ConfigurationError(
                f"there are programs for the {', '.join(unknown)}, and no neurons of it",
                fix=f"give its neurons, or programs for {', '.join(self.neurons)} alone",
            )


class _StackRows:
    """The programs of the positions of one stack."""

    def __init__(self, program_T: Tensor, *, stack: str) -> None:
        # The place of each direction's program.
        self._program_T = program_T
        self._stack = stack
        self._whole_N: Tensor | None = None
        self._running_N: Tensor | None = None
        self.state = 0

    def observe(self, batch: BatchLayout) -> None:
        """The positions are those of this batch."""
        direction_N = direction_in(batch, self._stack).flatten()
        self._program_T = self._program_T.to(direction_N.device)
        self._whole_N = self._running_N = self._program_T[direction_N]
        self.state += 1

    def keep(self, rows: np.ndarray) -> None:
        """Only some rows of the batch go on."""
        assert self._whole_N is not None  # noqa: S101 -- narrows the type
        index = torch.from_numpy(rows).to(self._whole_N.device, non_blocking=True)
        self._running_N = self._whole_N[index]
        self.state += 1

    def of(self, activation: Tensor) -> Tensor:
        """The programs of positions, int64 [N]: rows, or all positions if the batch is packed."""
        del activation
        if self._running_N is None:
            raise RuntimeError("observe() must name the batch before the forward pass")
        return self._running_N


class DirectionRows:
    """Which program each position of the running forward pass has.

    `observe` a batch before it is read, then let a search say by `keep` which rows go on.
    """

    def __init__(self, programs: Mapping[str, Tensor]) -> None:
        self.of_stack = {stack: _StackRows(each, stack=stack) for stack, each in programs.items()}

    def observe(self, batch: BatchLayout) -> None:
        """The next forward passes are of this batch, whose directions are those given."""
        for rows in self.of_stack.values():
            rows.observe(batch)

    def keep(self, rows: np.ndarray) -> None:
        """Only some rows of the padded batch go on."""
        for each in self.of_stack.values():
            each.keep(rows)


@contextmanager
def steered_directions(
    model: Transformer, directions: Sequence[Direction], steering: Steering | None
) -> Iterator[DirectionRows]:
    """Intervene in every forward pass of `model` within the block; None: in none.

    `directions` are those that the rows of batches to come are counted in. Layers that were
    compiled run as they are written, as compiled ones do not look for hooks again.
    """
    if steering is None:
        yield DirectionRows({})
        return
    steering.require_known(directions)
    distinct, places = {}, {}
    for stack in steering.neurons:
        programs = [steering.of(direction, stack) for direction in directions]
        distinct[stack] = list(dict.fromkeys(programs))
        for program in distinct[stack]:
            require_effective(program, steering.neurons[stack])
        places[stack] = torch.tensor([distinct[stack].index(program) for program in programs])
    rows = DirectionRows(places)
    taps = input_taps(model.projections)
    looks: dict[Site, Look] = {}
    for site in (site for site in taps if site.stack in distinct):
        neurons, programs = steering.neurons[site.stack], distinct[site.stack]
        table = [affine(program, neurons, site) for program in programs]
        if any(bool(done.touched_F.any()) for done in table):
            seed = f"{steering.seed}/{site.name}"
            looks[site] = applied(table, rows.of_stack[site.stack], seed=seed)
    with ExitStack() as block:
        if looks:
            block.enter_context(_as_written(model))
        block.enter_context(attached(taps, looks))
        yield rows


@contextmanager
def _as_written(model: nn.Module) -> Iterator[None]:
    """Within the block, modules that were compiled in place are not."""
    compiled = {
        module: module._compiled_call_impl
        for module in model.modules()
        if module._compiled_call_impl is not None
    }
    try:
        for module in compiled:
            module._compiled_call_impl = None
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call
