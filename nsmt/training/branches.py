"""How each treatment of a dense model is carried out."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from typing import assert_never

from torch import Tensor

from nsmt.languages import Direction
from nsmt.methods import (
    CONTROL,
    DENSE,
    Adapted,
    Masked,
    Separate,
    Treatment,
    WeightMasked,
)
from nsmt.models.adapters import with_adapters
from nsmt.models.checkpoint import TrainedModel, load_checkpoint
from nsmt.models.systems import CHECKPOINT
from nsmt.models.weight_masks import WeightMasks, magnitude_masks, maskable_weights
from nsmt.training.settings import ScheduleSettings, StageSettings
from nsmt.training.snapshot import of_first_rank, wait_for_all_ranks
from nsmt.training.stages import (
    Stage,
    StageContext,
    finished_stage,
    keep,
    train_stage,
)
from nsmt.training.terms import check_finished, terms_of
from nsmt.training.world import rank

_LOG = logging.getLogger(__name__)
# Below the folder of a method that trains several models first: the models, then what they gave.
_TUNING, MASKS_FOUND = "tuning", "weight_masks"


def train_branch(
    context: StageContext,
    schedule: ScheduleSettings,
    name: str,
    treatment: Treatment,
    *,
    dense: TrainedModel,
) -> None:
    """Train one branch from the dense model, unless it is there."""
    match treatment:
        case Masked(act="after"):
            _mask_afterwards(context, name, treatment)
        case Masked():
            _train_on(context, schedule, name, dense=dense, treatment=treatment)
        case Adapted():
            _train_on(context, schedule, name, dense=dense, adapters=treatment)
        case WeightMasked():
            _train_on_own_weights(context, schedule, name, treatment, dense=dense)
        case Separate():
            _train_separately(context, schedule, name, treatment)
        case _:
            assert_never(treatment)


def _train_on(
    context: StageContext,
    schedule: ScheduleSettings,
    name: str,
    *,
    dense: TrainedModel,
    treatment: Masked | None = None,
    adapters: Adapted | None = None,
    weight_masks: WeightMasks | None = None,
) -> None:
    def start() -> TrainedModel:
        trained = load_checkpoint(context.folder / DENSE / CHECKPOINT)
        trained.weight_masks = weight_masks
        if adapters is not None:
            trained = with_adapters(trained, adapters.groups, adapters.settings)
        return trained

    train_stage(
        context,
        Stage(
            name,
            schedule.specialise,
            start=start,
            # All branches have the same batches and dropout.
            seed=context.seed + 1,
            parent=dense.fingerprint,
            treatment=treatment or Masked(),
        ),
    )


def _mask_afterwards(context: StageContext, name: str, treatment: Masked) -> None:
    """The control's weights with masks: without them, training would be the control's again."""
    control = load_checkpoint(context.folder / CONTROL / CHECKPOINT)
    if finished_stage(context, name, parent=control.fingerprint) is None:
        control.atlas = treatment.atlas
        keep(context, name, control, updates=0)


def _train_on_own_weights(
    context: StageContext,
    schedule: ScheduleSettings,
    name: str,
    treatment: WeightMasked,
    *,
    dense: TrainedModel,
) -> None:
    """LaSS: tune on each direction, take the largest weights, train the dense model on."""
    if finished_stage(context, name, parent=dense.fingerprint) is not None:
        return
    settings = schedule.stage("tuning")
    rows = [
        _own_weights(context, name, treatment, settings, dense, direction)
        for direction in dense.directions
    ]
    masks = WeightMasks.joined(rows)
    _LOG.info("%s: masks of %d directions take %d bytes", name, len(masks.tasks), masks.nbytes)
    _train_on(context, schedule, name, dense=dense, weight_masks=masks)
    # The checkpoint has them.
    if rank() == 0:
        shutil.rmtree(context.folder / name / MASKS_FOUND, ignore_errors=True)


def _own_weights(
    context: StageContext,
    name: str,
    treatment: WeightMasked,
    settings: StageSettings,
    dense: TrainedModel,
    direction: Direction,
) -> WeightMasks:
    """The masks of one direction, from disk if they were made before; its model is not kept."""
    path = context.folder / name / MASKS_FOUND / f"{direction}.safetensors"
    part = f"{name}/{_TUNING}/{direction}"
    terms = terms_of(part, context.settings)
    if of_first_rank(path.is_file):
        check_finished(WeightMasks.load(path).provenance.get("settings", {}), terms, folder=path)
    else:
        tuned = _tuned(context, part, settings, dense, direction, dropout=treatment.dropout)
        if rank() == 0:
            own = _largest(tuned, treatment)
            provenance = {
                "rule": "magnitude",
                "rate": treatment.rate,
                "dense": dense.fingerprint,
                "tuned": tuned.fingerprint,
                "updates": tuned.history["updates"],
                "settings": terms,
            }
            WeightMasks.from_masks([(str(direction), own)], provenance=provenance).save(path)
        wait_for_all_ranks()
    if rank() == 0:
        shutil.rmtree(context.folder / part, ignore_errors=True)
    masks = WeightMasks.load(path)
    # A checkpoint that has the masks has the settings, too.
    provenance = {key: value for key, value in masks.provenance.items() if key != "settings"}
    return WeightMasks(masks.tasks, masks.shapes, masks.packed, provenance=provenance)


def _tuned(
    context: StageContext,
    part: str,
    settings: StageSettings,
    dense: TrainedModel,
    direction: Direction,
    *,
    dropout: float,
) -> TrainedModel:
    def start() -> TrainedModel:
        trained = load_checkpoint(context.folder / DENSE / CHECKPOINT)
        trained.directions = [direction]
        trained.model.set_dropout(dropout)
        return trained

    seed = context.seed + 1
    return train_stage(context, Stage(part, settings, start, seed, parent=dense.fingerprint))


def _largest(tuned: TrainedModel, treatment: WeightMasked) -> dict[str, Tensor]:
    weights = maskable_weights(
        tuned.model, scope=treatment.scope, output_projection=treatment.output_projection
    )
    return magnitude_masks(weights, treatment.rate)


def _train_separately(
    context: StageContext, schedule: ScheduleSettings, name: str, treatment: Separate
) -> None:
    """A model of its own for each part of the directions."""
    settings = schedule.stage("separate")
    for part, directions in treatment.parts.items():

        def start(own: Sequence[Direction] = directions) -> TrainedModel:
            trained = context.new_model()
            trained.directions = list(own)
            return trained

        train_stage(context, Stage(f"{name}/{part}", settings, start, context.seed))
