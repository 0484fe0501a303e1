"""How often and how strongly the neurons of a language model fire, language by language.

Contexts go through the body of the model (no logits are computed), hooks count on the device, and
nothing is kept but sums, each on the device of its layer. Statistics of disjoint parts of the text
add up to those of the whole.

Shape suffixes: B contexts of a batch, S positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nsmt.neurons.recording import ActivationRecorder, Positions
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.neurons.taps import Taps
from nsmt.steering.families import STACK


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
    recorder = ActivationRecorder(statistics)
    with recorder.tapping(taps), torch.inference_mode():
        for language, batch in batches:
            # Asked before the batch leaves the host. Without a mask, attention is a faster kernel.
            whole = bool(batch.real_BS.all())
            moved = batch.to(device)
            task_B = torch.full((len(moved.ids_BS),), statistics.row(language), device=device)
            recorder.observe(task_B, {STACK: Positions(moved.real_BS)})
            mask_BS = None if whole else moved.real_BS.to(torch.int64)
            body(input_ids=moved.ids_BS, attention_mask=mask_BS, use_cache=False)
            tell(int(batch.real_BS.sum()))
