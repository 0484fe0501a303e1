"""The LightningModule: one step, the optimiser and what is logged, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.languages import Direction
from nsmt.models.flops import TokenCounts, count_tokens
from nsmt.models.loss import LossKind, smoothed_cross_entropy, token_nll
from nsmt.models.masked_weights import Part
from nsmt.models.masks import DirectionMasks, Permits
from nsmt.models.transformer import Transformer
from nsmt.training.optimization import make_optimizer, rate
from nsmt.training.settings import OptimizerSettings
from nsmt.training.sharding import output_weight, shard
from nsmt.training.throughput import slots


class TranslationModule(pl.LightningModule):
    """Teacher-forced training of a Transformer, dense or with each direction's masks.

    The loss of a micro-batch is its sum over target tokens divided by the tokens of the whole
    update, so that ranks and accumulation add up to one step (design contract 6).
    """

    def __init__(
        self,
        model: Transformer,
        *,
        directions: Sequence[Direction],
        masks: Permits | None,
        optimizer: OptimizerSettings,
        updates: int,
        loss: LossKind = "chunked",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.masks = masks
        self.directions = list(directions)
        self.optimizer_settings = optimizer
        self.updates = updates
        self.loss = loss
        self.compiled = compiled
        # Sums since the last log line: nll, slots, and the fields of TokenCounts.
        self.register_buffer("trained", torch.zeros(7, dtype=torch.float64), persistent=False)
        # What of them was summed in time that is in no figure of throughput.
        self.register_buffer("untimed", torch.zeros(7, dtype=torch.float64), persistent=False)
        # By direction, of the running validation: nll, target tokens.
        empty = torch.zeros(2, len(self.directions), dtype=torch.float64)
        self.register_buffer("validated", empty, persistent=False)
        self.trained: Tensor
        self.untimed: Tensor
        self.validated: Tensor

    def configure_model(self) -> None:
        """Under FSDP, shard the model layer by layer over the ranks."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    @property
    def neuron_masks(self) -> DirectionMasks:
        """The masks of neurons that the model is trained with; a TypeError if there are none."""
        if not isinstance(self.masks, DirectionMasks):
            raise TypeError("the model is trained without masks of neurons")
        return self.masks

    def parts(self, batch: BatchLayout) -> Iterator[Part]:
        """The batch in parts that one set of weights reads each: here, all of it in one."""
        masks = None if self.masks is None else self.masks(batch)
        # The output's weight is whole from the forward pass on.
        hidden_BTD = self.model(batch, masks)
        yield Part.of(batch, hidden_BTD, output_weight(self.model))

    def training_step(self, batch: BatchLayout, batch_idx: int) -> Tensor:
        """The batch's share of the update's loss."""
        del batch_idx
        summed = [
            smoothed_cross_entropy(
                part.hidden_ND,
                part.weight_VD,
                part.target_N,
                smoothing=self.optimizer_settings.label_smoothing,
                kind=self.loss,
                # A CPU is as fast without.
                compiled=self.compiled and part.hidden_ND.is_cuda,
            )
            for part in self.parts(batch)
        ]
        loss, nll = (torch.stack(each).sum() for each in zip(*summed, strict=True))
        with torch.no_grad():
            self.trained[0] += nll
            self.trained[1] += slots(batch)
            self.trained[2:] += count_tokens(batch)
        # Lightning averages over accumulated batches and DDP over ranks; the loss is a sum.
        copies = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return loss * (copies / batch.update_tokens)

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self.validated.zero_()

    def validation_step(self, batch: BatchLayout, batch_idx: int) -> None:
        """Sum nll and tokens by direction."""
        del batch_idx
        for part in self.parts(batch):
            nll_N = token_nll(part.hidden_ND, part.weight_VD, part.target_N)
            rows_BT = part.batch.target_direction.expand_as(part.batch.target_out_BT)
            row_N = part.batch.counted(rows_BT)
            self.validated[0].index_add_(0, row_N, nll_N.to(torch.float64))
            self.validated[1].index_add_(0, row_N, torch.ones_like(nll_N, dtype=torch.float64))

    def on_validation_epoch_end(self) -> None:
        """Nll a token, by direction and their mean, for callbacks to log.

        Of the directions that have validation text here: a stage may read some of a run's alone.
        """
        sums = self.validated.clone()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        rows = sums[1].nonzero()[:, 0].tolist()
        nll_T = sums[0, rows] / sums[1, rows]
        values = {
            f"valid/nll/{self.directions[row]}": nll
            for row, nll in zip(rows, nll_T.tolist(), strict=True)
        }
        self.log_dict({"valid/nll": nll_T.mean().item(), **values}, logger=False)

    def leave_untimed(self) -> None:
        """Of all that was trained since the last line of the log, count nothing as throughput."""
        self.untimed.copy_(self.trained)

    def take_training_sums(self) -> tuple[float, float, TokenCounts, TokenCounts]:
        """Nll, positions, tokens, and those of them in measured time, since the last call.

        Over all ranks.
        """
        sums = torch.stack([self.trained, self.trained - self.untimed])
        self.trained.zero_()
        self.untimed.zero_()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        (nll, positions, *counts), (_, _, *timed) = sums.tolist()
        return nll, positions, TokenCounts(*counts), TokenCounts(*timed)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By their norm. Lightning's own refuses fused optimisers in mixed precision.

        They would unscale gradients by themselves; in bf16 nothing is scaled.
        """
        del gradient_clip_algorithm
        if gradient_clip_val:
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """A fresh optimiser: every stage starts with empty moments and its own warm-up."""
        trainable = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(trainable, self.optimizer_settings)
        factor = rate(self.optimizer_settings, updates=self.updates)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        scheduler: dict[str, Any] = {"scheduler": schedule, "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}  # type: ignore[return-value]
