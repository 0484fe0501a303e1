"""One training step of a model, ours or another toolkit's, as benchmarks time it.

A step is forward, label-smoothed loss, backward and fused AdamW.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice, product
from string import ascii_lowercase

import torch
from torch import Tensor, nn

from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.languages import Direction
from nsmt.models.loss import LossKind, smoothed_cross_entropy
from nsmt.models.masks import DirectionMasks
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas

SMOOTHING = 0.1
SEED = 0
# As sparse as the paper's masks at its k.
_KEPT = 0.7


def own_step(
    model: Transformer,
    *,
    masks: DirectionMasks | None,
    reduced: bool,
    device: str,
    kind: LossKind = "chunked",
    compiled: bool = False,
    learning_rate: float = 1e-4,
) -> Callable[[BatchLayout], object]:
    """A training step of our own model; on a GPU, `compiled` is for the loss."""

    def loss_of(batch: BatchLayout) -> Tensor:
        hidden_BTD = model(batch, None if masks is None else masks(batch))
        loss, _ = smoothed_cross_entropy(
            batch.counted(hidden_BTD),
            model.output.weight,
            batch.counted(batch.target_out_BT),
            smoothing=SMOOTHING,
            kind=kind,
            compiled=compiled and device == "cuda",
        )
        return loss / len(batch.counted_N)

    precision = precision_of(device, reduced=reduced)
    return step_of(model, loss_of, precision=precision, learning_rate=learning_rate)


def step_of(
    model: nn.Module,
    loss_of: Callable[[BatchLayout], Tensor],
    *,
    precision: Callable[[], AbstractContextManager[object]],
    learning_rate: float = 1e-4,
) -> Callable[[BatchLayout], None]:
    """A training step of any model, by what it makes of a batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)

    def step(batch: BatchLayout) -> None:
        with precision():
            loss = loss_of(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def precision_of(device: str, *, reduced: bool) -> Callable[[], AbstractContextManager[object]]:
    """What a step computes under: bf16 autocast, or nothing."""
    return lambda: torch.autocast(device, dtype=torch.bfloat16) if reduced else nullcontext()


def new_model(corpus: Corpus, settings: ModelSettings, *, device: str) -> Transformer:
    """The same weights at every call."""
    torch.manual_seed(SEED)
    vocabulary = corpus.vocabulary
    with torch.device("meta" if device == "meta" else "cpu"):
        model = Transformer(settings, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    return model.to(device).train()


def masks_mib(directions: int, settings: ModelSettings) -> float:
    """What the masks of so many directions of a model take of a device's memory."""
    codes = islice(map("".join, product(ascii_lowercase, repeat=3)), directions)
    with torch.device("meta"):
        model = Transformer(settings, vocabulary_size=8, pad=0)
    masks = random_masks([Direction("en", code) for code in codes], model)
    return sum(each.numel() * each.element_size() for each in masks.buffers()) / (1 << 20)


def random_masks(directions: list[Direction], model: Transformer) -> DirectionMasks:
    """Random neurons of every direction."""
    generator = torch.Generator().manual_seed(SEED)
    chosen = {
        site.name: torch.rand(len(directions), site.width, generator=generator) < _KEPT
        for site in model.sites
    }
    atlas = NeuronAtlas.from_masks([str(d) for d in directions], model.sites, chosen)
    return DirectionMasks(atlas, directions, sites=model.sites)
