"""Optimisers and learning-rate schedules, as pure functions of the settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from nsmt.training.settings import OptimizerSettings, StageSettings


def for_stage(optimizer: OptimizerSettings, stage: StageSettings) -> OptimizerSettings:
    """The optimiser's settings with what the stage sets otherwise."""
    own = stage.model_dump(include={"learning_rate", "warmup_updates"}, exclude_none=True)
    return optimizer.model_copy(update=own)


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: OptimizerSettings
) -> torch.optim.Optimizer:
    """Adam or AdamW over `parameters`, fused."""
    kind = torch.optim.Adam if settings.name == "adam" else torch.optim.AdamW
    return kind(
        parameters,
        lr=settings.learning_rate,
        betas=settings.betas,
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def rate(settings: OptimizerSettings, *, updates: int) -> Callable[[int], float]:
    """The factor on the peak learning rate at update n, counted from 0.

    Linear warm-up to 1 over `warmup_updates`; then constant, with the inverse square root of the
    update, or linearly to 0 at `updates`.
    """
    warmup = settings.warmup_updates

    def factor(update: int) -> float:
        step = update + 1
        if step < warmup:
            return step / warmup
        if settings.decay == "inverse_sqrt":
            return math.sqrt(max(warmup, 1) / step)
        if settings.decay == "linear":
            return max(0.0, (updates - update) / max(1, updates - warmup + 1))
        return 1.0

    return factor
