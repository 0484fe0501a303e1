"""How often and how strongly the neurons of a language model fire, language by language.

Contexts go through the body of the model (no logits are computed), hooks count on the device, and
nothing is kept but sums. Statistics of disjoint parts of the text add up to those of the whole.

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
from nsmt.neurons.taps import Look, Tap, Taps, attached


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

    `body` is the model without its head, on the device of `statistics`; `tell` hears how many
    tokens each batch had.
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

    def observe(self, row: int, batch: Contexts) -> None:
        """All rows of the next forward pass are of one task."""
        self._real_BS = batch.real_BS
        self._task_B = torch.full((len(batch.ids_BS),), row, device=batch.ids_BS.device)

    @contextmanager
    def attached(self, taps: Taps) -> Iterator[None]:
        looks: dict[Site, Look] = {site: self._count(site) for site in taps}
        with ExitStack() as hooks:
            hooks.enter_context(attached(taps, looks))
            if "written" in self._statistics.moments:
                seconds = {site: Tap(tap.second, tap.second, "input") for site, tap in taps.items()}
                written = {site: self._written(site, tap.second) for site, tap in taps.items()}
                hooks.enter_context(attached(seconds, written))
            yield

    def _count(self, site: Site) -> Look:
        def look(activation: Tensor) -> None:
            activation_BSF = activation.view(*self._real_BS.shape, -1)
            self._statistics.update(
                site.name, activation_BSF, task_C=self._task_B, real_BS=self._real_BS
            )

        return look

    def _written(self, site: Site, second: nn.Module) -> Look:
        weight_DF: Tensor = second.weight  # type: ignore[assignment]
        length_F = weight_DF.detach().to(torch.float32).norm(dim=0)

        def look(hidden: Tensor) -> None:
            hidden_BSF = hidden.view(*self._real_BS.shape, -1)
            values_BSF = hidden_BSF.to(torch.float32).abs() * length_F
            self._statistics.add_moment(
                "written", site.name, values_BSF, self._task_B, self._real_BS
            )

        return look
