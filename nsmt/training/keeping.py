"""Which weights a stage ends with: its last, its best on validation, or a mean of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import safetensors.torch
import torch
from torch import Tensor, nn

from nsmt.files import replace_file, sha256
from nsmt.manifest import require_unaltered
from nsmt.tensors import save_tensors
from nsmt.training.module import TranslationModule
from nsmt.training.snapshot import (
    parameters_of,
    put_back,
    put_weights,
    weights_of,
    whole_copy,
)


class Remembering(pl.Callback):
    """A callback whose memory is part of a stage's state.

    Every rank is asked to remember, and to recall; what they remember is the same in all.
    """

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What must be known to go on: tensors on the CPU, and plain JSON."""
        return {}, {}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from what was remembered."""

    def begin_again(self, pl_module: pl.LightningModule) -> None:
        """Forget the weights so far: from here on they are another system's, with other masks."""


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

    def begin_again(self, pl_module: pl.LightningModule) -> None:
        """None is the best any more."""
        del pl_module
        self.best, self._weights = float("inf"), {}


class KeepMean(Remembering):
    """Ends a stage with an exponential moving average of its weights: after each update,
    mean ← decay · mean + (1 - decay) · weights.

    The decay is smaller at first, (1 + n) / (10 + n) at update n, so that random weights are soon
    forgotten. The average is not what is validated meanwhile.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._mean: dict[str, Tensor] = {}
        self._recalled: Mapping[str, Tensor] = {}
        self._update = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights, or with the average so far."""
        self._update = trainer.global_step
        parameters = parameters_of(_model(pl_module))
        self._mean = {name: each.detach().clone() for name, each in parameters.items()}
        for name, whole in self._recalled.items():
            put_back(self._mean[name], whole)

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
        weights = [each.detach() for each in parameters_of(_model(pl_module)).values()]
        torch._foreach_lerp_(list(self._mean.values()), weights, 1 - decay)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in place of the weights."""
        del trainer
        with torch.no_grad():
            for name, parameter in parameters_of(_model(pl_module)).items():
                parameter.copy_(self._mean[name])

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The average so far."""
        return {name: whole_copy(mean) for name, mean in self._mean.items()}, {}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on from it."""
        del numbers
        self._recalled = dict(tensors)

    def begin_again(self, pl_module: pl.LightningModule) -> None:
        """The average begins with the weights as they are."""
        for name, parameter in parameters_of(_model(pl_module)).items():
            self._mean[name].copy_(parameter.detach())


class KeepAverage(Remembering):
    """Ends a stage with the average of the weights at its last validations.

    They are files beside the stage's states, not memory: `count` models may be large.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        self.folder = folder
        self.count = count
        # By update, the sha256 of its file, as the first rank knows.
        self._written: dict[int, str] = {}

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the weights down."""
        update, digest = trainer.global_step, ""
        weights = weights_of(_model(pl_module))
        if trainer.is_global_zero:
            with replace_file(self._file(update)) as building:
                save_tensors(building, weights)
                digest = sha256(building)
        self._written[update] = digest
        if trainer.is_global_zero:
            self._forget_others()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put their average in place of the weights."""
        written = trainer.strategy.broadcast(self._written)
        last = sorted(written)[-self.count :]
        for update in last:
            require_unaltered(self._file(update), written[update])
        if last:
            put_weights(_model(pl_module), mean_of_files(map(self._file, last)))

    def remember(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Which validations there were."""
        # A copy: it is written while training goes on.
        return {}, {"written": dict(self._written)}

    def recall(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Go on with those; what was written after them will be written again."""
        del tensors
        self._written = {int(update): digest for update, digest in numbers["written"].items()}

    def begin_again(self, pl_module: pl.LightningModule) -> None:
        """The next validation is the first; files of those before go when it is written."""
        del pl_module
        self._written = {}

    def _file(self, update: int) -> Path:
        return self.folder / f"step-{update:09d}.safetensors"

    def _forget_others(self) -> None:
        # As many again for a stage that goes back to where they are needed.
        self._written = dict(sorted(self._written.items())[-2 * self.count :])
        kept = {self._file(update) for update in self._written}
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
