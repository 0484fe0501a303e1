"""How often and how strongly the neurons of a language model fire, language by language.

Contexts go through the body of the model (no logits are computed), hooks count on the device, and
nothing is kept but sums, each on the device of its layer. Statistics of disjoint parts of the text
add up to those of the whole.

Shape suffixes: B contexts of a batch, S positions, F neurons of a site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.neurons.taps import Look, Taps, attached, input_taps


@dataclass(frozen=True, slots=True)
class Contexts:
    """A batch of text: token ids [B, S], and whether each is there (False at padding)."""

    ids_BS: Tensor
    real_BS: Tensor

    def to(self, device: torch.device) -> Contexts:
        """The same on a device."""
        return Contexts(self.ids_BS.to(device), self.real_BS.to(device))


def gather(
    body: nn.Module,
    taps: Taps,
    batches: Iterable[tuple[str, Contexts]],
    statistics: ActivationStatistics,
    *,
    tell: Callable[[int], None] = lambda _: None,
) -> None:
    """Add the activations on batches of named languages to `statistics`.

    `body` is the model without its head; its input goes where `statistics` are at first, and its
    layers may be elsewhere. `tell` hears how many tokens each batch had.
    """
    device = next(iter(statistics.active.values())).device
    watch = _Watch(statistics)
    with watch.attached(taps), torch.inference_mode():
        for language, batch in batches:
            # Asked before the batch leaves the host. Without a mask, attention is a faster kernel.
            whole = bool(batch.real_BS.all())
            moved = batch.to(device)
            watch.observe(statistics.row(language), moved)
            mask_BS = None if whole else moved.real_BS.to(torch.int64)
            body(input_ids=moved.ids_BS, attention_mask=mask_BS, use_cache=False)
            tell(int(batch.real_BS.sum()))


class _Watch:
    """Looks at activations, and knows whose they are."""

    def __init__(self, statistics: ActivationStatistics) -> None:
        self._statistics = statistics
        self._task_B = torch.empty(0, dtype=torch.int64)
        self._real_BS = torch.empty(0, 0, dtype=torch.bool)
        # The two above, on every device that has asked for them.
        self._there: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def observe(self, row: int, batch: Contexts) -> None:
        """All rows of the next forward pass are of one task."""
        self._real_BS = batch.real_BS
        self._task_B = torch.full((len(batch.ids_BS),), row, device=batch.ids_BS.device)
        self._there.clear()

    @contextmanager
    def attached(self, taps: Taps) -> Iterator[None]:
        looks: dict[Site, Look] = {site: self._count(site) for site in taps}
        with ExitStack() as hooks:
            hooks.enter_context(attached(taps, looks))
            if "written" in self._statistics.moments:
                seconds = {site: tap.second for site, tap in taps.items()}
                written = {site: self._written(site, seconds[site]) for site in seconds}
                hooks.enter_context(attached(input_taps(seconds), written))
            yield

    def _positions(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tasks of rows and real positions, moved once a batch and device."""
        if device not in self._there:
            self._there[device] = self._task_B.to(device), self._real_BS.to(device)
        return self._there[device]

    def _count(self, site: Site) -> Look:
        def look(activation: Tensor) -> None:
            task_B, real_BS = self._positions(activation.device)
            activation_BSF = activation.view(*real_BS.shape, -1)
            self._statistics.update(site.name, activation_BSF, task_C=task_B, real_BS=real_BS)

        return look

    def _written(self, site: Site, second: nn.Module) -> Look:
        weight_DF: Tensor = second.weight  # type: ignore[assignment]
        length_F = weight_DF.detach().to(torch.float32).norm(dim=0)

        def look(hidden: Tensor) -> None:
            task_B, real_BS = self._positions(hidden.device)
            hidden_BSF = hidden.view(*real_BS.shape, -1)
            self._statistics.add_written(
                site.name, hidden_BSF, length_F, task_C=task_B, real_BS=real_BS
            )

        return look
