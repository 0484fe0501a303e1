"""Slow references that share no code with what they check."""

import torch
from torch.nn import functional as F

from nsmt.data.batch import BatchLayout
from nsmt.models.masks import DirectionMasks

CLASSES = ("owned by both", "owned by one", "owned by neither")


def class_of(mine, theirs):
    return CLASSES[2 - int(mine) - int(theirs)]


def single_sentences(batch):
    """Each sentence of a padded batch in a batch of its own, with the tokens that count."""
    counted = torch.zeros_like(batch.target_real_BT).flatten()
    counted[batch.counted_N] = True
    counted = counted.view_as(batch.target_real_BT)
    for row in range(len(batch)):
        source = int(batch.source_real_BS[row].sum())
        target = int(batch.target_real_BT[row].sum())
        keep = counted[row, :target].nonzero()[:, 0]
        if len(keep):
            yield BatchLayout(
                source_BS=batch.source_BS[row : row + 1, :source],
                source_real_BS=batch.source_real_BS[row : row + 1, :source],
                target_in_BT=batch.target_in_BT[row : row + 1, :target],
                target_out_BT=batch.target_out_BT[row : row + 1, :target],
                target_real_BT=batch.target_real_BT[row : row + 1, :target],
                counted_N=keep,
                direction_C=torch.zeros(1, dtype=torch.int64),
                update_tokens=1,
            )


def slow_loss(trained, direction, sample):
    """The mean nll a token from whole logits, a sentence at a time."""
    masks = None
    if trained.atlas is not None:
        masks = DirectionMasks(trained.atlas, [direction], sites=trained.model.sites)
    loss = 0.0
    for batch in sample.batches:
        for one in single_sentences(batch):
            hidden = trained.model(one, None if masks is None else masks(one))[0, one.counted_N]
            logits = hidden.double() @ trained.model.output.weight.double().T
            loss = loss + F.cross_entropy(
                logits, one.target_out_BT[0, one.counted_N], reduction="sum"
            )
    return loss / sample.tokens


def slow_gradient(trained, direction, sample):
    """By `backward`, and every gradient put away again: float64 by name."""
    trained.model.eval()
    slow_loss(trained, direction, sample).backward()
    found = {
        name: (torch.zeros_like(each) if each.grad is None else each.grad).double()
        for name, each in trained.model.named_parameters()
    }
    trained.model.zero_grad(set_to_none=True)
    return found
