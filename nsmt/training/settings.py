"""Schemas of conf/optimizer, conf/schedule, conf/trainer, conf/logger and conf/callbacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from nsmt.data.plan import BatchSettings
from nsmt.models.loss import LossKind
from nsmt.settings import Count, Settings, Share

# What is trained: stages of the run, and single models of a method, with the stages for which they
# stand in.
StageKey = Literal["dense", "specialise", "separate", "tuning"]
STANDS_FOR: Final[Mapping[StageKey, StageKey]] = {"separate": "dense", "tuning": "specialise"}
# last: as they are. best: on validation. average: of the last validations. ema: of all updates.
Keep = Literal["last", "best", "average", "ema"]


class OptimizerSettings(Settings):
    """Adam and its learning-rate schedule; the defaults are the paper's."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: Annotated[float, Field(gt=0)] = Field(5e-4, description="at its peak")
    betas: tuple[Share, Share] = (0.9, 0.98)
    epsilon: Annotated[float, Field(gt=0)] = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_updates: Annotated[int, Field(ge=0)] = 4000
    decay: Literal["inverse_sqrt", "linear", "constant"] = Field(
        "inverse_sqrt",
        description="after warm-up; linear: down by the same at each update, to 0 just after the "
        "stage's last",
    )
    clip_norm: Annotated[float, Field(ge=0)] = Field(0.0, description="0 leaves gradients alone")
    label_smoothing: Share = 0.1


class StageSettings(Settings):
    """One stretch of training with an optimiser and learning-rate schedule of its own."""

    updates: Count
    validate_every: Count = Field(500, description="updates between validations")
    learning_rate: Annotated[float, Field(gt=0)] | None = Field(
        None, description="peak of this stage; None takes optimizer.learning_rate"
    )
    warmup_updates: Annotated[int, Field(ge=0)] | None = Field(
        None, description="warm-up of this stage; None takes optimizer.warmup_updates"
    )
    patience: Count | None = Field(None, description="of this stage; None takes callbacks.patience")
    tokens: Annotated[int, Field(ge=8)] | None = Field(
        None, description="of a micro-batch of this stage; None takes batch.tokens"
    )
    per_update: Count | None = Field(
        None, description="micro-batches of one update; None takes batch.per_update"
    )

    def batch(self, batch: BatchSettings) -> BatchSettings:
        """Its batches; `batch` are those of the run."""
        own = self.model_dump(include={"tokens", "per_update"}, exclude_none=True)
        return batch.model_copy(update=own)


class PartSettings(Settings):
    """How each model is trained that a method has of one direction, or of one pair.

    None takes what the stage has that it stands in for, warm-up included, or what the run has.
    """

    updates: Count | None = None
    validate_every: Count | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    warmup_updates: Annotated[int, Field(ge=0)] | None = None
    patience: Count | None = None
    tokens: Annotated[int, Field(ge=8)] | None = Field(None, description="of a micro-batch")
    per_update: Count | None = Field(None, description="micro-batches of one update")

    def of(self, stage: StageSettings) -> StageSettings:
        """The settings of one of these models; `stage` is what it stands in for."""
        chosen = stage.model_copy(update=self.model_dump(exclude_none=True))
        every = min(chosen.validate_every, chosen.updates)
        return chosen.model_copy(update={"validate_every": every})


class ScheduleSettings(Settings):
    """The stages of a run; settings of stages that the kind does not have are left alone.

    `dense` trains a dense model and stops. `two_stage` goes on from it: identify, then
    continue-dense and the method, both from the dense weights. `specialize` is the second half of
    that, from a checkpoint (and, if given, an atlas) on disk. `separate` and `tuning` are those of
    single models in methods that train some.
    """

    kind: Literal["dense", "two_stage", "specialize"]
    dense: StageSettings
    specialise: StageSettings
    separate: PartSettings = Field(
        PartSettings(), description="each bilingual model; null takes what dense has"
    )
    tuning: PartSettings = Field(
        PartSettings(), description="LaSS's copy of each direction; null takes what specialise has"
    )
    checkpoint: str | None = Field(None, description="for kind=specialize: a trained model")
    atlas: str | None = Field(
        None, description="for kind=specialize: masks found before, for methods that take them"
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "specialize") != (self.checkpoint is not None):
            raise ValueError("checkpoint must be given for kind=specialize, and for no other")
        if self.atlas is not None and self.kind != "specialize":
            raise ValueError("atlas can only be given for kind=specialize")
        return self

    def stage(self, key: StageKey) -> StageSettings:
        """A stage of the run, or that of each model that a method has of one direction or pair."""
        if key == "separate":
            return self.separate.of(self.dense)
        if key == "tuning":
            return self.tuning.of(self.specialise)
        return self.dense if key == "dense" else self.specialise

    def trained(self, parts: StageKey | None) -> tuple[StageKey, ...]:
        """What is trained; `parts` are the method's own models, if it has some."""
        if self.kind == "dense":
            return ("dense",)
        first: tuple[StageKey, ...] = ("dense",) if self.kind == "two_stage" else ()
        return (*first, "specialise", *((parts,) if parts else ()))

    def asking(self, key: StageKey, setting: Literal["tokens", "per_update"]) -> str:
        """The key of the configuration from which one of these has this setting."""
        for place in (key, STANDS_FOR.get(key, key)):
            if getattr(getattr(self, place), setting) is not None:
                return f"schedule.{place}.{setting}"
        return f"batch.{setting}"


class TrainerSettings(Settings):
    """Where and how fast: what is handed to Lightning's Trainer."""

    accelerator: Literal["cpu", "gpu"] = "cpu"
    devices: Count = Field(1, description="ranks on each node")
    num_nodes: Count = 1
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="of several ranks; fsdp: each keeps a part of the weights (FSDP2)"
    )
    precision: Literal["32-true", "bf16-mixed", "auto"] = Field(
        "32-true", description="auto: bf16-mixed where the processor multiplies in bf16"
    )
    tf32: bool = Field(
        default=False, description="let a GPU round the inputs of fp32 products to TF32"
    )
    deterministic: bool = True
    background: bool = Field(
        default=False, description="plan and read batches in a process of its own, ahead"
    )
    recompute: bool = Field(
        default=False,
        description="compute activations again in the backward pass instead of keeping them",
    )
    compile: bool = Field(
        default=False, description="compile layers, and on a GPU the loss, by torch.compile"
    )
    loss: LossKind = Field(
        "chunked", description="how: own chunks, torch's linear_cross_entropy, Liger-Kernel"
    )
    threads: Count | None = Field(None, description="CPU threads a rank; None lets torch choose")

    @property
    def world(self) -> int:
        """Ranks over all nodes."""
        return self.devices * self.num_nodes


class LoggerSettings(Settings):
    """Where metrics go; metrics.csv is always written."""

    kind: Literal["csv", "wandb", "tensorboard"] = "csv"
    project: str = "nsmt"
    offline: bool | None = Field(
        None, description="W&B offline; None goes online only where a key is set"
    )
    group: str | None = Field(
        None, description="W&B's group; None: that of the sweep, or none outside of one"
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _as_it_was_called(cls, kind: object) -> object:
        """Records of earlier versions call metrics.csv alone "none"."""
        return "csv" if kind == "none" else kind


class CallbackSettings(Settings):
    """What watches a stage."""

    progress: bool = True
    log_every: Count = Field(50, description="updates between lines of metrics.csv")
    patience: Count | None = Field(
        None, description="validations without improvement before a stage ends early"
    )
    keep: Keep = Field(
        "last",
        description="the weights a stage ends with: its last, best on validation, the average of "
        "its last validations, or an exponential moving average",
    )
    average: Count = Field(5, description="for keep=average: validations")
    ema_decay: Share = Field(0.999, description="for keep=ema: what is kept at each update")


class StateSettings(Settings):
    """When the state of a stage is written, and which states are kept."""

    every: Count = Field(1000, description="updates between states")
    keep_last: Count = Field(2, description="the newest states, to fall back on")
    keep_best: Annotated[int, Field(ge=0)] = Field(
        0, description="further ones, the best on validation of those taken at a validation"
    )
    keep_finished: bool = Field(
        default=False, description="leave them when the stage has its checkpoint"
    )


class DivergenceSettings(Settings):
    """What is done about updates that would ruin the model; norms are those of gradients."""

    explosion: Annotated[float, Field(gt=1)] = Field(
        100.0, description="an update whose norm is so many times the usual one is skipped"
    )
    spike: Annotated[float, Field(gt=1)] = Field(
        10.0, description="an update whose norm is so many times the usual one is written down"
    )
    patience: Count = Field(5, description="updates skipped in a row before the roll-back")
    rollbacks: Annotated[int, Field(ge=0)] = Field(
        2, description="how often a stage goes back to its newest state before it ends"
    )
