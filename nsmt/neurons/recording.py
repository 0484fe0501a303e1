"""Watch the feed-forward layers of a running model and count what fires.

While a recorder is attached, `observe` tells it which task each sentence of the coming forward pass
belongs to.

Shape suffixes: B rows, S positions, C sentences, D model width, F neurons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypedDict

import torch
from torch import Tensor, nn

from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.neurons.taps import Look, Projections, Taps, attached, input_taps


@dataclass(frozen=True, slots=True)
class Positions:
    """What the positions of a stack are: False at padding, and for packed rows whose they are."""

    real_BS: Tensor
    sentence_S: Tensor | None = None


class _Told(TypedDict):
    """The same with the tasks, as `Counts` wants it."""

    task_C: Tensor
    real_BS: Tensor
    sentence_S: Tensor | None


class Counts(Protocol):
    """What counts activations: `ActivationStatistics`, or another way to add up the same."""

    def update(
        self,
        site: str,
        activation_BSF: Tensor,
        *,
        task_C: Tensor,
        real_BS: Tensor,
        sentence_S: Tensor | None = None,
    ) -> None:
        """Add the post-ReLU activations of one batch."""
        ...


class ActivationRecorder:
    """Feeds `statistics` with what passes by at the taps of a model, layer by layer where it is."""

    def __init__(self, statistics: Counts) -> None:
        self.statistics = statistics
        self._task_C: Tensor | None = None
        self._positions: Mapping[str, Positions] = {}
        # What a stack's look asks for, on every device that has asked.
        self._there: dict[tuple[str, torch.device], _Told] = {}

    def attached(self, projections: Projections) -> AbstractContextManager[None]:
        """The same at what the second projections read, as in nsmt's own models."""
        return self.tapping(input_taps(projections))

    @contextmanager
    def tapping(self, taps: Taps) -> Iterator[None]:
        """Hook every site for the length of the block, and always unhook."""
        with ExitStack() as hooks:
            hooks.enter_context(attached(taps, {site: self._count(site) for site in taps}))
            statistics = self.statistics
            if isinstance(statistics, ActivationStatistics) and "written" in statistics.moments:
                seconds = {site: tap.second for site, tap in taps.items()}
                looks = {site: self._written(statistics, site, seconds[site]) for site in seconds}
                hooks.enter_context(attached(input_taps(seconds), looks))
            yield

    def observe(self, task_C: Tensor, positions: Mapping[str, Positions]) -> None:
        """Name the tasks of the next forward pass, and the positions of each stack."""
        self._task_C = task_C
        self._positions = positions
        self._there.clear()

    def _told(self, stack: str, device: torch.device) -> _Told:
        """Whose the positions of a stack are, moved once a pass and device."""
        if self._task_C is None:
            raise RuntimeError("observe() must name the tasks before the forward pass")
        if (stack, device) not in self._there:
            real_BS, sentence_S = self._positions[stack].real_BS, self._positions[stack].sentence_S
            self._there[stack, device] = {
                "task_C": self._task_C.to(device),
                "real_BS": real_BS.to(device),
                "sentence_S": None if sentence_S is None else sentence_S.to(device),
            }
        return self._there[stack, device]

    def _count(self, site: Site) -> Look:
        def look(activation: Tensor) -> None:
            told = self._told(site.stack, activation.device)
            activation_BSF = activation.detach().view(*told["real_BS"].shape, -1)
            self.statistics.update(site.name, activation_BSF, **told)

        return look

    def _written(self, statistics: ActivationStatistics, site: Site, second: nn.Module) -> Look:
        weight_DF: Tensor = second.weight  # type: ignore[assignment]
        length_F = weight_DF.detach().to(torch.float32).norm(dim=0)

        def look(hidden: Tensor) -> None:
            told = self._told(site.stack, hidden.device)
            hidden_BSF = hidden.detach().view(*told["real_BS"].shape, -1)
            statistics.add_written(site.name, hidden_BSF, length_F, **told)

        return look
