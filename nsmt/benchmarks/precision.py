"""What training in bf16 does to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch

from nsmt.benchmarks.steps import SEED, new_model, own_step
from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.models.loss import token_nll
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer

# Padded, as attention in fp32 has no kernel for packed batches, and small: whatever a benchmark's
# own batches are, there is memory and time for many.
_BATCH = BatchSettings(layout="padded", tokens=1024)
_UPDATES = 100
_VALIDATED = 8


def bf16_loss(corpus: Corpus, settings: ModelSettings, *, device: str) -> float:
    """The loss on held-out text after 100 updates in bf16, over that after the same ones in fp32.

    The same weights, batches and dropout; measured in fp32.
    """
    data = TranslationData(corpus, batch=_BATCH, temperature=1.0, seed=SEED)
    batches = list(islice(iter(data.train_dataloader()), _UPDATES))
    # Of all lengths, which come in order.
    held_out = list(data.val_dataloader())
    held_out = held_out[:: max(1, len(held_out) // _VALIDATED)]
    losses = []
    for reduced in (False, True):
        model = new_model(corpus, settings, device=device)
        torch.manual_seed(SEED)
        step = own_step(model, masks=None, reduced=reduced, device=device)
        for batch in batches:
            step(batch.to(device))
        losses.append(_loss(model.eval(), held_out, device=device))
    return losses[1] / losses[0]


@torch.no_grad()
def _loss(model: Transformer, batches: Sequence[BatchLayout], *, device: str) -> float:
    """Nll a token."""
    nll = []
    for batch in (each.to(device) for each in batches):
        hidden_ND, target_N = batch.counted(model(batch)), batch.counted(batch.target_out_BT)
        nll.append(token_nll(hidden_ND, model.output.weight, target_N))
    return torch.cat(nll).mean().item()
