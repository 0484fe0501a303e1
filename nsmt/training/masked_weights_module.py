"""Training with weight masks: the same step, one pass for each direction of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nsmt.data.batch import BatchLayout
from nsmt.errors import CheckpointError, ConfigurationError
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.masked_weights import DirectionWeights, Part, masked_parts
from nsmt.training.module import TranslationModule


class MaskedWeightsModule(TranslationModule):
    """LaSS: each sentence is read with its own direction's weights, in training and validation.

    The weights that are trained are the unmasked ones.
    """

    def __init__(self, trained: TrainedModel, **options: Any) -> None:  # noqa: ANN401 -- as its parent's
        trained.require_one_kind()
        super().__init__(trained.model, directions=trained.directions, masks=None, **options)
        if trained.weight_masks is None:
            raise CheckpointError("the model has no weight masks", fix="make them first")
        self.weights = DirectionWeights(
            trained.weight_masks, trained.directions, model=trained.model
        )

    def configure_model(self) -> None:
        """Refuse what would let go of weights before the backward pass, or hold parts of them."""
        if self.device_mesh is not None:
            raise ConfigurationError(
                "weight masks need whole weights, of which trainer.strategy=fsdp has parts",
                fix="choose trainer.strategy=ddp",
            )
        if self.model.recompute:
            raise ConfigurationError(
                "trainer.recompute would compute layers again without their weight masks",
                fix="set trainer.recompute=false, and a lower batch.tokens if memory is short",
            )

    def parts(self, batch: BatchLayout) -> Iterator[Part]:
        """One part a direction."""
        return masked_parts(self.model, self.weights, batch)


def make_module(trained: TrainedModel, **options: Any) -> TranslationModule:  # noqa: ANN401 -- as the module's
    """What trains this model: with its weight masks, if it has any, else with those of neurons."""
    if trained.weight_masks is not None:
        return MaskedWeightsModule(trained, **options)
    return TranslationModule(
        trained.model, directions=trained.directions, masks=trained.masks(), **options
    )
