"""Rows that no direction of an update owns stay as they are, and so do their moments.

Masks keep gradients apart, but Adam moves a row by its moments, and decays them, in every update.
Here an update leaves the first feed-forward weight's rows bitwise alone unless a direction that
owns them was part of it. The bias correction still counts every update, as it is not a row's own.

Shape suffixes: T directions, F neurons, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.models.masks import DirectionMasks
from nsmt.models.transformer import DecoderLayer, EncoderLayer, Transformer
from nsmt.training.module import TranslationModule


class IsolatedRows(pl.Callback):
    """Puts rows back after each step of the optimiser."""

    def __init__(self) -> None:
        self._present_T = torch.empty(0)
        # By parameter: itself and its moments as they were before the step.
        self._before: dict[Tensor, dict[str, Tensor]] = {}
        self._weights: dict[str, Tensor] = {}
        self._masks: DirectionMasks | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Listen to the optimiser."""
        assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
        self._masks, self._weights = pl_module.neuron_masks, first_weights(pl_module.model)
        self._present_T = torch.zeros(
            len(pl_module.directions), dtype=torch.bool, device=pl_module.device
        )
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(self._copy)
        optimizer.register_step_post_hook(self._put_back)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """Note whose sentences are part of the update; padding is nobody's."""
        del trainer, pl_module, batch_idx
        direction_BT = batch.target_direction.expand_as(batch.target_out_BT)
        self._present_T.index_fill_(0, batch.counted(direction_BT), value=True)

    def _copy(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:  # noqa: ANN401
        for weight in self._weights.values():
            self._before[weight] = {"weight": weight.detach().clone()}
            self._before[weight] |= {
                kind: moment.clone() for kind, moment in _moments(optimizer, weight).items()
            }

    @torch.no_grad()
    def _put_back(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:  # noqa: ANN401
        assert self._masks is not None  # noqa: S101 -- narrows the type
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(self._present_T, op=torch.distributed.ReduceOp.MAX)
        for site in self._masks.sites:
            weight, masks_TF = self._weights[site.name], self._masks.of(site)
            owned_F1 = (masks_TF & self._present_T[:, None]).any(0)[:, None]
            before = self._before[weight]
            weight.copy_(torch.where(owned_F1, weight, before["weight"]))
            for kind, moment in _moments(optimizer, weight).items():
                # There were none before the first step.
                old = before.get(kind, torch.zeros_like(moment))
                moment.copy_(torch.where(owned_F1, moment, old))
        self._before.clear()
        self._present_T.zero_()


def first_weights(model: Transformer) -> dict[str, Tensor]:
    """The first weight of every feed-forward layer [F, D], by its site's name."""
    stacks: dict[str, Sequence[EncoderLayer | DecoderLayer]] = {
        "encoder": model.encoder_stack,
        "decoder": model.decoder_stack,
    }
    return {
        site.name: stacks[site.stack][site.layer].feed_forward.fc1.weight for site in model.sites
    }


def _moments(optimizer: torch.optim.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """The optimiser's tensors of the weight's own shape."""
    state = optimizer.state.get(weight, {})
    return {kind: each for kind, each in state.items() if each.shape == weight.shape}
