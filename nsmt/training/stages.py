"""One stage of a run: a stretch of training with an optimiser and a schedule of its own.

Each stage leaves a folder with its checkpoint and metrics; a stage whose checkpoint is whole is not
trained again. Branches start from the same dense weights, see the same batches and draw the same
dropout, so that they differ in their treatment alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytorch_lightning as pl
import torch

from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.data.settings import MixSettings
from nsmt.errors import CheckpointError, PreemptionError
from nsmt.languages import Direction
from nsmt.methods import LABELS, Masked
from nsmt.models.checkpoint import TrainedModel, load_checkpoint, save_checkpoint
from nsmt.models.settings import ModelSettings
from nsmt.models.systems import CHECKPOINT
from nsmt.models.transformer import Transformer
from nsmt.neurons.selection import SelectionSettings
from nsmt.training.callbacks import StageMetrics, StopDiverged, StopEarly
from nsmt.training.divergence import Guard, RollBackError
from nsmt.training.going import AVERAGED, Going
from nsmt.training.isolation import IsolatedRows, first_weights
from nsmt.training.keeping import KeepAverage, KeepBest, KeepMean, Remembering
from nsmt.training.masked_weights_module import make_module
from nsmt.training.optimization import for_stage
from nsmt.training.resuming import Resuming
from nsmt.training.settings import (
    CallbackSettings,
    DivergenceSettings,
    LoggerSettings,
    OptimizerSettings,
    StageSettings,
    StateSettings,
    TrainerSettings,
)
from nsmt.training.sharding import whole
from nsmt.training.signals import GO_ON, StopSignal
from nsmt.training.snapshot import of_all_ranks, of_first_rank
from nsmt.training.states import StageState
from nsmt.training.terms import Terms, check_finished, terms_of
from nsmt.training.throughput import Stopwatch
from nsmt.training.tightening import TightenMasks
from nsmt.training.timings import timed
from nsmt.training.tracking import open_loggers
from nsmt.training.trainer import make_trainer
from nsmt.training.warm_up import LargestFirst
from nsmt.training.world import rank

_LOG = logging.getLogger(__name__)
# What a stage starts from that starts from nothing.
_RANDOM = "random"
# The callbacks that may end it with an error.
_JUDGES = ("guard", "diverged")


@dataclass(frozen=True, slots=True)
class StageContext:
    """What all stages of a run share."""

    folder: Path
    seed: int
    corpus: Corpus
    temperature: float
    curriculum: tuple[MixSettings, ...]
    model: ModelSettings
    batch: BatchSettings
    optimizer: OptimizerSettings
    selection: SelectionSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    callbacks: CallbackSettings
    states: StateSettings
    divergence: DivergenceSettings
    stop: StopSignal
    # All that decides the numbers of the run, see `nsmt.training.terms`.
    settings: Terms

    def data(
        self,
        *,
        stage_seed: int,
        batch: BatchSettings | None = None,
        directions: Sequence[Direction] | None = None,
    ) -> TranslationData:
        """The batches of a stage, of all directions or some; a curriculum is one of them all.

        `batch` are the stage's, those of the run if there is no stage.
        """
        every = directions is None or list(directions) == list(self.corpus.directions)
        return TranslationData(
            self.corpus,
            batch=batch or self.batch,
            temperature=self.temperature,
            curriculum=self.curriculum if every else (),
            seed=stage_seed,
            directions=directions,
            background=self.trainer.background,
            even=self.trainer.strategy == "fsdp",
        )

    def new_model(self) -> TrainedModel:
        """Random weights, by torch's generator."""
        vocabulary = self.corpus.vocabulary
        model = Transformer(self.model, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
        return TrainedModel(model, vocabulary, list(self.corpus.directions))


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage is to do.

    `name` is its folder below the run's: a method's name, or METHOD/PART. `start` makes the model
    that it trains, whose weights have the fingerprint `parent`, or are new ones.
    """

    name: str
    settings: StageSettings
    start: Callable[[], TrainedModel]
    seed: int
    parent: str | None = None
    treatment: Masked = field(default_factory=Masked)

    @property
    def label(self) -> str:
        """What progress bars call it."""
        method, _, part = self.name.partition("/")
        return f"{LABELS[method]} {part}".strip()


def train_stage(context: StageContext, stage: Stage) -> TrainedModel:
    """Train with a fresh optimiser, or go on; all ranks return the same model."""
    folder, atlas = context.folder / stage.name, stage.treatment.atlas
    if (finished := finished_stage(context, stage.name, parent=stage.parent)) is not None:
        return finished
    origin = {
        "stage": stage.name,
        "start": stage.parent or _RANDOM,
        "corpus": context.corpus.fingerprint,
        "atlas": None if atlas is None else atlas.fingerprint,
    }
    going = Going(
        folder,
        origin,
        terms=terms_of(stage.name, context.settings),
        updates=stage.settings.updates,
    )
    while True:
        # The same on all ranks for new weights, then each rank has its own dropout.
        pl.seed_everything(stage.seed, workers=True, verbose=False)
        trained = stage.start()
        torch.manual_seed(stage.seed + 1_000_003 * rank())
        try:
            updates = _fit(context, stage, trained, going=going)
            break
        except RollBackError as request:
            going.back(request)
    keep(context, stage.name, trained, updates=updates)
    going.clear(keep_states=context.states.keep_finished)
    obey(context.stop)
    return load_checkpoint(folder / CHECKPOINT)


def finished_stage(context: StageContext, name: str, *, parent: str | None) -> TrainedModel | None:
    """The model of a stage that is there already; CheckpointError if it is another's."""
    folder = context.folder / name
    # Put in place whole, so that a damaged one was damaged later, which is not ours to undo.
    if not of_first_rank((folder / CHECKPOINT).exists):
        return None
    _LOG.info("%s is there already", name)
    trained = load_checkpoint(folder / CHECKPOINT)
    made = (trained.history.get("corpus"), trained.history.get("start"))
    if made != (context.corpus.fingerprint, parent or _RANDOM):
        raise CheckpointError(
            f"{context.folder} holds a stage of other text or of another checkpoint",
            fix="start this run again with resume=never",
        )
    terms = terms_of(name, context.settings)
    check_finished(trained.history.get("settings", {}), terms, folder=folder)
    return trained


def keep(context: StageContext, name: str, trained: TrainedModel, *, updates: int) -> None:
    """Write a stage's checkpoint, once, on rank 0; `trained` has its parent's fingerprint."""
    trained.history = {
        "stage": name,
        "updates": updates,
        "corpus": context.corpus.fingerprint,
        "start": trained.fingerprint or _RANDOM,
        "settings": terms_of(name, context.settings),
    }
    put(context, name, trained)


def put(context: StageContext, name: str, trained: TrainedModel) -> None:
    """Write a checkpoint as it is, once, on rank 0."""
    if rank() == 0:
        trained.fingerprint = save_checkpoint(context.folder / name / CHECKPOINT, trained)


def obey(stop: StopSignal) -> None:
    """End here, in all ranks, if a signal reached any of them."""
    if any(of_all_ranks(stop.asked is not None)):
        stop.obey()
        raise PreemptionError("stopped by a signal to another rank", fix=GO_ON)


def _fit(context: StageContext, stage: Stage, trained: TrainedModel, *, going: Going) -> int:
    """Train in place until the stage's end; the number of updates taken."""
    folder, state, settings = context.folder / stage.name, going.state(), stage.settings
    optimizer = for_stage(context.optimizer, settings)
    _prepare(trained, stage.treatment)
    module = make_module(
        trained,
        optimizer=optimizer,
        updates=settings.updates,
        loss=context.trainer.loss,
        compiled=context.trainer.compile,
    )
    data = context.data(
        stage_seed=stage.seed,
        batch=settings.batch(context.batch),
        directions=trained.directions,
    )
    with open_loggers(context.logger, folder=folder, stage=stage.name, state=state) as loggers:
        trainer = make_trainer(
            context.trainer,
            folder=folder,
            callbacks=_callbacks(context, stage, going=going, state=state),
            loggers=loggers,
            updates=settings.updates,
            validate_every=settings.validate_every,
            accumulation=data.accumulation(context.trainer.world),
            optimizer=optimizer,
        )
        trained.model.train()
        trained.model.recompute = context.trainer.recompute
        if context.trainer.compile:
            # What was compiled for the stage before is of no use any more.
            torch.compiler.reset()
            trained.model.compile_layers()
        _LOG.info("%s: %d updates begin, %d are done", stage.name, settings.updates, going.update)
        with timed(context.folder, stage.name):
            trainer.fit(module, datamodule=data)
    trained.model = whole(trained.model).eval()
    # They may have been measured again; those of gradients alone have no part in the result.
    own = stage.treatment.atlas is not None and stage.treatment.act == "forward"
    trained.atlas = module.neuron_masks.atlas if own else None
    _LOG.info("%s: %d updates done", stage.name, trainer.global_step)
    return trainer.global_step


def _prepare(trained: TrainedModel, treatment: Masked) -> None:
    """Set a model up for a treatment."""
    if treatment.freeze_rest:
        trained.model.requires_grad_(requires_grad=False)
        for weight in first_weights(trained.model).values():
            weight.requires_grad_()
    trained.atlas = treatment.atlas
    trained.model.mask_updates_only(treatment.act == "gradient")


def _callbacks(
    context: StageContext, stage: Stage, *, going: Going, state: StageState | None
) -> list[pl.Callback]:
    settings, folder = context.callbacks, context.folder / stage.name
    guard = Guard(context.divergence, folder=folder, rollbacks=going.rollbacks)
    watch = Stopwatch()
    metrics = StageMetrics(
        stage.label,
        updates=stage.settings.updates,
        log_every=settings.log_every,
        progress=settings.progress,
        guard=guard,
        watch=watch,
        compiled=context.trainer.compile,
    )
    members = _members(context, stage, guard=guard, going=going, watch=watch)
    resuming = Resuming(
        context.states,
        folder=folder,
        origin=going.origin,
        terms=going.terms,
        state=state,
        stop=context.stop,
        members=members,
        validate_every=min(stage.settings.validate_every, stage.settings.updates),
        seed=stage.seed,
        watch=watch,
    )
    # Before what looks at the weights of an update: it is over when rows are put back.
    callbacks: list[pl.Callback] = [IsolatedRows()] if stage.treatment.isolated else []
    # What they do is no waiting for data; but those that end a stage do so when it is logged why.
    callbacks += [member for name, member in members.items() if name not in _JUDGES]
    if context.trainer.accelerator == "gpu" and context.batch.layout == "padded":
        callbacks.append(LargestFirst())
    return [*callbacks, metrics, *(members[name] for name in _JUDGES), resuming]


def _members(
    context: StageContext, stage: Stage, *, guard: Guard, going: Going, watch: Stopwatch
) -> dict[str, Remembering]:
    """The callbacks that are part of a stage's state, by name."""
    settings, tightening = context.callbacks, stage.treatment.tightening
    members: dict[str, Remembering] = {
        "guard": guard,
        # The best weights before the last round have masks that are not yet the stage's.
        "diverged": StopDiverged(keep_best=settings.keep == "best" and tightening is None),
    }
    last_begins = 0
    if tightening is not None:
        masks = TightenMasks(
            tightening,
            rule=context.selection.count_rule,
            updates=stage.settings.updates,
            watch=watch,
        )
        members["masks"], last_begins = masks, masks.last_begins
    if settings.keep == "best":
        members["keep"] = KeepBest()
    elif settings.keep == "average":
        members["keep"] = KeepAverage(going.states / AVERAGED, count=settings.average)
    elif settings.keep == "ema":
        members["keep"] = KeepMean(settings.ema_decay)
    patience = stage.settings.patience or settings.patience
    if patience is not None:
        members["early"] = StopEarly(patience, after=last_begins)
    return members
