"""What a step on one direction does to the others, against what gradients foretell.

From the same weights θ, one step of gradient descent on direction a, θ - η g_a, as long as a given
share of θ; then the change of the nll of every direction b on the same validation tokens, beside
the first-order prediction -η g_a·g_b. The weights are put back to the bit.

Shape suffixes: T directions: row a is stepped on, column b is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from nsmt.errors import TrainingError
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.loss import not_numbers, token_nll
from nsmt.models.masks import Permits
from nsmt.models.transformer import Transformer
from nsmt.probing.gradients import gradient, masks_for
from nsmt.probing.sentences import Sample

Advance = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Transfer:
    """Changes of the nll a token in nats, float64 [T, T], and the step taken for each row, [T]."""

    actual_TT: Tensor
    predicted_TT: Tensor
    eta_T: Tensor


def transfer(
    trained: TrainedModel,
    samples: Mapping[Direction, Sample],
    dot_TT: Tensor,
    *,
    relative_step: float,
    advance: Advance = lambda: None,
) -> Transfer:
    """Step on each direction in turn; `dot_TT` holds the inner products of their whole gradients.

    A step's length is `relative_step` times that of all weights. A direction without a gradient is
    a TrainingError, and so is a step after which likelihoods are no numbers; if they are none
    before, it is a CheckpointError. `advance` is called after each step.
    """
    model, names = trained.model, [name for name, _ in trained.model.named_parameters()]
    masks = masks_for(trained, list(samples))
    before_T = _nlls(model, samples, masks)
    if not before_T.isfinite().all():
        raise not_numbers()
    length = torch.stack([each.detach().double().norm() for each in model.parameters()]).norm()
    actual, eta = [], []
    for row, (direction, sample) in enumerate(samples.items()):
        its_length = dot_TT[row, row].sqrt()
        if not its_length > 0:
            raise TrainingError(
                f"{direction} has no gradient to step along", fix="look at the model's weights"
            )
        step = relative_step * length.item() / its_length.item()
        found = gradient(trained, sample, masks[row], names)
        with stepped(model, found, step):
            actual.append(_nlls(model, samples, masks) - before_T)
        if not actual[-1].isfinite().all():
            raise TrainingError(
                f"after a step on {direction} the model's probabilities are no numbers",
                fix="take a shorter one: transfer.relative_step",
            )
        eta.append(step)
        advance()
    eta_T = torch.tensor(eta, dtype=torch.float64)
    return Transfer(torch.stack(actual), -eta_T[:, None] * dot_TT, eta_T)


@contextmanager
def stepped(model: Transformer, gradient: Mapping[str, Tensor], step: float) -> Iterator[None]:
    """Within the block the weights are a step further; afterwards what they were, to the bit."""
    kept = {name: each.detach().clone() for name, each in model.named_parameters()}
    try:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.sub_(gradient[name].to(parameter.dtype), alpha=step)
        yield
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(kept[name])


@torch.no_grad()
def mean_nll(model: Transformer, sample: Sample, masks: Permits | None) -> float:
    """The nll a token of a sample, in nats, summed in float64."""
    sums = []
    for batch in sample.batches:
        hidden_BTD = model(batch, None if masks is None else masks(batch))
        nll_N = token_nll(
            batch.counted(hidden_BTD), model.output.weight, batch.counted(batch.target_out_BT)
        )
        sums.append(nll_N.double().sum())
    return torch.stack(sums).sum().item() / sample.tokens


def _nlls(
    model: Transformer, samples: Mapping[Direction, Sample], masks: list[Permits | None]
) -> Tensor:
    pairs = zip(samples.values(), masks, strict=True)
    return torch.tensor([mean_nll(model, *pair) for pair in pairs], dtype=torch.float64)
