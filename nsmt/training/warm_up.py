"""The largest batch first: what a GPU has no memory for is known before any update is taken."""

from __future__ import annotations

import pytorch_lightning as pl
import torch

from nsmt.data.datamodule import TranslationData
from nsmt.training.module import TranslationModule


class LargestFirst(pl.Callback):
    """Takes the longest padded batch forwards and backwards before a stage, which changes nothing.

    The allocator lays out its memory for it; smaller batches then fit into what is there. Packed
    batches are all of one size and have no use for this.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """One step without an update; weights, random numbers and sums stay as they are."""
        # Lightning leaves the datamodule untyped.
        data: TranslationData = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
        device = pl_module.device
        batch = data.largest_batch().to(device)
        gpus = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(gpus), trainer.precision_plugin.forward_context():
            loss = pl_module.training_step(batch, 0)
        torch.autograd.backward(loss)
        pl_module.zero_grad()
        pl_module.trained.zero_()
