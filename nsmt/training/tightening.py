"""Masks that are measured again while a stage trains, see `nsmt.methods.reidentify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.data.datamodule import TranslationData
from nsmt.methods import Tightening
from nsmt.models.masks import DirectionMasks
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.recording import ActivationRecorder
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.training.identification import counting, positions_of
from nsmt.training.keeping import Remembering
from nsmt.training.module import TranslationModule
from nsmt.training.throughput import Stopwatch


class TightenMasks(Remembering):
    """At the end of each round but the last, counts what fires and puts the next masks in place.

    What the stage's other callbacks know of weights with the masks before is then forgotten: the
    best of one round, or a mean over rounds, is no model of the last one.
    """

    def __init__(
        self, tightening: Tightening, *, rule: CountRule, updates: int, watch: Stopwatch
    ) -> None:
        self.tightening = tightening
        self.watch = watch
        self.rule = rule
        rounds = tightening.rounds
        # By the update after which it begins; of several after one, the tightest.
        self._round = {-(-updates * number // rounds): number for number in range(1, rounds)}
        # The update after which the last one begins: no stage is at its end before.
        self.last_begins = max(self._round, default=0)
        self._update = 0
        self._masks: DirectionMasks | None = None
        self._recalled: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the stage's masks, or with those of the state that it goes on from."""
        self._update = trainer.global_step
        masks = _module(pl_module).neuron_masks
        if self._recalled is not None:
            packed, provenance = self._recalled
            before = masks.atlas
            masks.replace(
                NeuronAtlas(before.tasks, before.sites, packed, provenance=dict(provenance))
            )
        self._masks = masks

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: BatchLayout,
        batch_idx: int,
    ) -> None:
        """After the last update of a round, begin the next."""
        del outputs, batch, batch_idx
        if trainer.global_step == self._update:
            return
        self._update = trainer.global_step
        if (number := self._round.get(self._update)) is None:
            return
        with self.watch.paused():
            statistics = self._measured(trainer, _module(pl_module))
        assert self._masks is not None  # noqa: S101 -- narrows the type
        self._masks.replace(self.tightening.atlas(statistics, number))
        # Lightning sets them untyped.
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Remembering):
                callback.begin_again(pl_module)

    @torch.no_grad()
    def _measured(self, trainer: pl.Trainer, module: TranslationModule) -> ActivationStatistics:
        """Counts over the validation sets with all neurons in use, over all ranks."""
        data: TranslationData = trainer.datamodule  # type: ignore[attr-defined]
        if self.rule.count_padding:
            data = data.padded()
            data.trainer = trainer
        statistics = ActivationStatistics(
            [str(direction) for direction in module.directions],
            module.model.sites,
            rule=self.rule,
            provenance={
                "corpus": data.corpus.fingerprint,
                "split": "valid",
                "update": self._update,
            },
            device=module.device,
        )
        recorder = ActivationRecorder(statistics)
        module.model.eval()
        # A compiled layer does not see hooks that came later.
        with (
            counting(self.rule, module.model),
            recorder.attached(module.model.projections),
            torch.compiler.set_stance("force_eager"),
            trainer.precision_plugin.forward_context(),
        ):
            for read in data.val_dataloader():
                batch = data.transfer_batch_to_device(read, module.device, 0)
                recorder.observe(batch.direction_C, positions_of(batch))
                module.model(batch)
        module.model.train()
        statistics.all_reduce()
        return statistics

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The masks of the running round."""
        assert self._masks is not None  # noqa: S101 -- states are taken while training
        atlas = self._masks.atlas
        return atlas.packed, {"provenance": atlas.provenance}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on with them."""
        self._recalled = dict(tensors), numbers["provenance"]


def _module(pl_module: pl.LightningModule) -> TranslationModule:
    assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
    return pl_module
