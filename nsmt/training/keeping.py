"""Which weights a stage ends with: its last, its best on validation, or a mean of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import safetensors.torch
import torch
from torch import Tensor, nn

from nsmt.files import replace_file
from nsmt.training.module import TranslationModule
from nsmt.training.snapshot import put_back, put_weights, weights_of, whole_copy


class Remembering(pl.Callback):
    """A callback whose memory is part of a stage's state.

    Every rank is asked to remember, and to recall; what they remember is the same in all.
    """

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What must be known to go on: tensors on the CPU, and plain JSON."""
        return {}, {}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from what was remembered."""


class KeepBest(Remembering):
    """Puts the weights with the best validation nll back at the end of a stage."""

    def __init__(self) -> None:
        self.best = float("inf")
        self._weights: dict[str, Tensor] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the weights if they are the best so far."""
        value = trainer.callback_metrics["valid/nll"].item()
        if value < self.best:
            self.best = value
            self._weights = weights_of(_model(pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore them."""
        del trainer
        if self._weights:
            put_weights(_model(pl_module), self._weights)

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The best weights and their likelihood."""
        return self._weights, {"best": self.best if self._weights else None}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from them."""
        self._weights = dict(tensors)
        self.best = float("inf") if numbers["best"] is None else numbers["best"]


class KeepMean(Remembering):
    """Ends a stage with an exponential moving average of its weights: after each update,
    mean ← decay · mean + (1 - decay) · weights.

    The decay is smaller at first, (1 + n) / (10 + n) at update n, so that random weights are soon
    forgotten. The average is not what is validated meanwhile.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._names: list[str] = []
        self._mean: list[Tensor] = []
        self._recalled: Mapping[str, Tensor] = {}
        self._update = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights, or with the average so far."""
        self._update = trainer.global_step
        model = _model(pl_module)
        self._names = [name for name, _ in model.named_parameters()]
        now = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        for name, whole in self._recalled.items():
            put_back(now[name], whole)
        self._mean = list(now.values())

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401 -- Lightning's protocol
        batch: Any,  # noqa: ANN401
        batch_idx: int,
    ) -> None:
        """After each update, move the average."""
        del outputs, batch, batch_idx
        if trainer.global_step == self._update:
            return
        self._update = trainer.global_step
        decay = min(self.decay, (1 + self._update) / (10 + self._update))
        weights = [parameter.detach() for parameter in _model(pl_module).parameters()]
        torch._foreach_lerp_(self._mean, weights, 1 - decay)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place of the weights."""
        del trainer
        with torch.no_grad():
            for parameter, mean in zip(_model(pl_module).parameters(), self._mean, strict=True):
                parameter.copy_(mean)

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The average so far."""
        means = zip(self._names, self._mean, strict=True)
        return {name: whole_copy(mean) for name, mean in means}, {}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from it."""
        del numbers
        self._recalled = dict(tensors)


class KeepAverage(Remembering):
    """Ends a stage with the average of the weights at its last validations.

    They are files beside the stage's states, not memory: `count` models may be large.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        self.folder = folder
        self.count = count
        self._updates: list[int] = []

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights down."""
        self._updates = [*self._updates, trainer.global_step][-self.count :]
        weights = weights_of(_model(pl_module))
        if trainer.is_global_zero:
            with replace_file(self._file(trainer.global_step)) as building:
                safetensors.torch.save_file(weights, str(building))
            self._forget_others()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put their average in place of the weights."""
        trainer.strategy.barrier()
        files = [self._file(update) for update in self._updates]
        if files:
            put_weights(_model(pl_module), mean_of_files(files))

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Which validations count."""
        return {}, {"updates": self._updates}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on with those; what was written after them will be written again."""
        del tensors
        self._updates = list(numbers["updates"])

    def _file(self, update: int) -> Path:
        return self.folder / f"step-{update:09d}.safetensors"

    def _forget_others(self) -> None:
        kept = {self._file(update) for update in self._updates}
        for path in set(self.folder.glob("step-*.safetensors")) - kept:
            path.unlink(missing_ok=True)


def mean_of_files(files: Iterable[Path]) -> dict[str, Tensor]:
    """The mean of tensors of the same names in safetensors files, summed in fp64."""
    sums: dict[str, Tensor] = {}
    kinds: dict[str, torch.dtype] = {}
    count = 0
    for file in files:
        count += 1
        for name, tensor in safetensors.torch.load_file(str(file)).items():
            kinds[name] = tensor.dtype
            sums[name] = sums[name] + tensor.double() if name in sums else tensor.double()
    return {name: (total / count).to(kinds[name]) for name, total in sums.items()}


def _model(pl_module: pl.LightningModule) -> nn.Module:
    assert isinstance(pl_module, TranslationModule)  # noqa: S101 -- narrows the type
    return pl_module.model
