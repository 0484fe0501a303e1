"""How each treatment of a dense model is carried out."""

from __future__ import annotations

from nsmt.methods import CONTROL, DENSE, Masked
from nsmt.models.checkpoint import TrainedModel, load_checkpoint
from nsmt.training.settings import ScheduleSettings
from nsmt.training.stages import (
    CHECKPOINT,
    Stage,
    StageContext,
    finished_stage,
    keep,
    train_stage,
)


def train_branch(
    context: StageContext,
    schedule: ScheduleSettings,
    name: str,
    treatment: Masked,
    *,
    dense: TrainedModel,
) -> None:
    """Train one branch from the dense model, unless it is there."""
    if treatment.act == "after":
        _mask_afterwards(context, name, treatment)
        return
    train_stage(
        context,
        Stage(
            name,
            schedule.specialise,
            start=lambda: load_checkpoint(context.folder / DENSE / CHECKPOINT),
            # All branches have the same batches and dropout.
            seed=context.seed + 1,
            parent=dense.fingerprint,
            treatment=treatment,
        ),
    )


def _mask_afterwards(context: StageContext, name: str, treatment: Masked) -> None:
    """The control's weights with masks: without them, training would be the control's again."""
    control = load_checkpoint(context.folder / CONTROL / CHECKPOINT)
    if finished_stage(context, name, parent=control.fingerprint) is None:
        control.atlas = treatment.atlas
        keep(context, name, control, updates=0)
