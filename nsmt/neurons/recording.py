"""Watch the feed-forward layers of a running model and count what fires.

While a recorder is attached, `observe` tells it which task each sentence of the coming forward pass
belongs to.

Shape suffixes: B rows, S positions, C sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nsmt.neurons.sites import Site
from nsmt.neurons.taps import Look, Projections, attached, input_taps


@dataclass(frozen=True, slots=True)
class Positions:
    """What the positions of a stack are: False at padding, and for packed rows whose they are."""

    real_BS: Tensor
    sentence_S: Tensor | None = None


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
    """Feeds `statistics` with what the second projections of a model read."""

    def __init__(self, statistics: Counts) -> None:
        self.statistics = statistics
        self._task_C: Tensor | None = None
        self._positions: Mapping[str, Positions] = {}

    @contextmanager
    def attached(self, projections: Projections) -> Iterator[None]:
        """Hook every site for the length of the block, and always unhook."""
        with attached(input_taps(projections), {site: self._count(site) for site in projections}):
            yield

    def observe(self, task_C: Tensor, positions: Mapping[str, Positions]) -> None:
        """Name the tasks of the next forward pass, and the positions of each stack."""
        self._task_C = task_C
        self._positions = positions

    def _count(self, site: Site) -> Look:
        def look(activation: Tensor) -> None:
            if self._task_C is None:
                raise RuntimeError("observe() must name the tasks before the forward pass")
            positions = self._positions[site.stack]
            self.statistics.update(
                site.name,
                activation.detach(),
                task_C=self._task_C,
                real_BS=positions.real_BS,
                sentence_S=positions.sentence_S,
            )

        return look
