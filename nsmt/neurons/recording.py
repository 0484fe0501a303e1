"""Watch the feed-forward layers of a running model and count what fires.

The post-activation values are the input of the second feed-forward projection, so a pre-hook on
that module sees them in any model, without a change to the model. While a recorder is attached,
`observe` tells it which task each sentence of the coming forward pass belongs to.

Shape suffixes: B rows, S positions, C sentences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from nsmt.neurons.sites import Site

# For a site: the second projection of its block. Models offer this mapping.
Projections = Mapping[Site, nn.Module]


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
    """Feeds `statistics` from forward pre-hooks on the second projections of a model."""

    def __init__(self, statistics: Counts) -> None:
        self.statistics = statistics
        self._task_C: Tensor | None = None
        self._positions: Mapping[str, Positions] = {}

    @contextmanager
    def attached(self, projections: Projections) -> Iterator[None]:
        """Hook every site for the length of the block, and always unhook."""
        with ExitStack() as hooks:
            for site, module in projections.items():
                hooks.callback(module.register_forward_pre_hook(self._hook(site)).remove)
            yield

    def observe(self, task_C: Tensor, positions: Mapping[str, Positions]) -> None:
        """Name the tasks of the next forward pass, and the positions of each stack."""
        self._task_C = task_C
        self._positions = positions

    def _hook(self, site: Site) -> Any:  # noqa: ANN401 -- torch's hook protocol
        def count(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if self._task_C is None:
                raise RuntimeError("observe() must name the tasks before the forward pass")
            positions = self._positions[site.stack]
            self.statistics.update(
                site.name,
                inputs[0].detach(),
                task_C=self._task_C,
                real_BS=positions.real_BS,
                sentence_S=positions.sentence_S,
            )

        return count
