"""What training in bf16 does to the loss."""

from __future__ import annotations

from itertools import islice

import torch

from nsmt.benchmarks.steps import SEED, new_model, own_step
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.models.loss import token_nll
from nsmt.models.settings import ModelSettings

# Padded, as attention in fp32 has no kernel for packed batches, and small: whatever a benchmark's
# own batches are, they fit beside nothing else.
_BATCH = BatchSettings(layout="padded", tokens=1024)
_UPDATES = 8


def bf16_loss(corpus: Corpus, settings: ModelSettings, *, device: str) -> float:
    """The loss on unseen text after some updates in bf16, over that after the same ones in fp32.

    The same weights, batches and dropout; measured in fp32.
    """
    data = TranslationData(corpus, batch=_BATCH, temperature=1.0, seed=SEED)
    read = islice(iter(data.train_dataloader()), _UPDATES + 1)
    *batches, last = (each.to(device) for each in read)
    losses = []
    for reduced in (False, True):
        model = new_model(corpus, settings, device=device)
        torch.manual_seed(SEED)
        step = own_step(model, masks=None, reduced=reduced, device=device)
        for batch in batches:
            step(batch)
        model.eval()
        with torch.no_grad():
            hidden_ND, target_N = last.counted(model(last)), last.counted(last.target_out_BT)
        losses.append(token_nll(hidden_ND, model.output.weight, target_N).mean().item())
    return losses[1] / losses[0]
