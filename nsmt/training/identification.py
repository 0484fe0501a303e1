"""Gather activation statistics while Lightning validates: one pass over all directions.

Batches mix directions and stay on the device; counts are summed over ranks at the end. The paper
records each direction in a run of its own, which gives the same counts of real tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.errors import AtlasError
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.transformer import Transformer
from nsmt.neurons.moments import Moment
from nsmt.neurons.recording import ActivationRecorder, Positions
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.training.callbacks import ValidationBar
from nsmt.training.module import TranslationModule
from nsmt.training.settings import OptimizerSettings, TrainerSettings
from nsmt.training.trainer import make_trainer


def gather_statistics(
    trained: TrainedModel,
    data: TranslationData,
    *,
    rule: CountRule,
    trainer: TrainerSettings,
    folder: Path,
    moments: Sequence[Moment] = (),
    progress: bool = True,
) -> ActivationStatistics:
    """Count what fires for each direction on its validation set; all ranks get the sums.

    `moments` are summed beside the counts. A model with masks is measured as it is used, with its
    masks, and what a direction may not use counts as silent in it.
    """
    module = _ForwardPass(
        trained.model,
        directions=trained.directions,
        masks=trained.masks(),
        optimizer=OptimizerSettings(),
        updates=1,
    )
    if rule.count_padding:
        # Between packed sentences there is none.
        data = data.padded()
    callback = IdentifyNeurons(
        rule, moments=moments, provenance=provenance_of(trained, data.corpus)
    )
    shown = [ValidationBar("identify neurons")] if progress else []
    runner = make_trainer(trainer, folder=folder, callbacks=[callback, *shown])
    with counting(rule, trained.model):
        runner.validate(module, datamodule=data, verbose=False)
    statistics = callback.statistics
    if statistics is None:
        raise AtlasError("nothing was counted", fix="give every direction validation text")
    units_T = statistics.units[statistics.sites[0].name]
    if silent := [task for task, units in zip(statistics.tasks, units_T, strict=True) if not units]:
        # They would have no neuron at all, and be trained and translated with none.
        raise AtlasError(
            f"nothing was counted of {', '.join(silent)}",
            fix="give every direction validation text",
        )
    if trained.atlas is not None:
        statistics.silence_all_but(trained.atlas)
    return statistics


def provenance_of(trained: TrainedModel, corpus: Corpus) -> dict[str, Any]:
    """What statistics are of: the provenance of those that `gather_statistics` makes."""
    masks = {} if trained.atlas is None else {"masks": trained.atlas.fingerprint}
    return {"model": trained.fingerprint, "corpus": corpus.fingerprint, "split": "valid"} | masks


@contextmanager
def counting(rule: CountRule, model: Transformer) -> Iterator[None]:
    """Have padding compute what it does in the released code, if it is counted."""
    model.silent_padding = rule.count_padding
    try:
        yield
    finally:
        model.silent_padding = False


def positions_of(batch: BatchLayout) -> dict[str, Positions]:
    """What a recorder must know of a batch's positions."""
    source, target = batch.source_spans, batch.target_spans
    return {
        "encoder": Positions(batch.source_real_BS, None if source is None else source.sentence_Q),
        "decoder": Positions(batch.target_real_BT, None if target is None else target.sentence_Q),
    }


class _ForwardPass(TranslationModule):
    """Validation without output projection and loss, which no neuron's activation needs."""

    def validation_step(self, batch: BatchLayout, batch_idx: int) -> None:
        """Run both stacks."""
        del batch_idx
        self.model(batch, None if self.masks is None else self.masks(batch))

    def on_validation_epoch_end(self) -> None:
        """Nothing to log."""


class IdentifyNeurons(pl.Callback):
    """After `trainer.validate(...)`, `statistics` holds the counts of every direction."""

    def __init__(
        self,
        rule: CountRule,
        *,
        moments: Sequence[Moment] = (),
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.rule = rule
        self.moments = tuple(moments)
        self.provenance = dict(provenance or {})
        self.statistics: ActivationStatistics | None = None
        self._recorder: ActivationRecorder | None = None
        self._hooks = ExitStack()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start with empty counts and hook every feed-forward layer."""
        del trainer
        assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
        self.statistics = ActivationStatistics(
            [str(direction) for direction in pl_module.directions],
            pl_module.model.sites,
            rule=self.rule,
            moments=self.moments,
            provenance=self.provenance,
            device=pl_module.device,
        )
        self._recorder = ActivationRecorder(self.statistics)
        self._hooks.enter_context(self._recorder.attached(pl_module.model.projections))

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: BatchLayout,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Say whose activations come next."""
        del trainer, pl_module, batch_idx, dataloader_idx
        assert self._recorder is not None  # noqa: S101 -- narrows the type
        self._recorder.observe(batch.direction_C, positions_of(batch))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Unhook and sum over ranks."""
        del trainer, pl_module
        self._hooks.close()
        if self.statistics is not None:
            self.statistics.all_reduce()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Never leave hooks behind."""
        del trainer, pl_module, exception
        self._hooks.close()
