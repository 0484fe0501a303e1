"""The stages of a run: dense training, identification, and the branches that follow.

Each stage leaves a folder with its checkpoint and metrics; a stage whose checkpoint is whole is not
trained again. Branches start from the same dense weights, see the same batches and draw the same
dropout, so that they differ in their masks alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch

from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.data.settings import MixSettings
from nsmt.errors import AtlasError, CheckpointError, PreemptionError
from nsmt.files import replace_folder
from nsmt.manifest import verified_manifest, write_manifest
from nsmt.methods import CONTROL, DENSE, LABELS, METHODS, Evidence, MethodSettings
from nsmt.models.checkpoint import TrainedModel, load_checkpoint, save_checkpoint
from nsmt.models.masks import DirectionMasks
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.training.callbacks import StageMetrics, StopDiverged, StopEarly
from nsmt.training.divergence import Guard, RollBackError
from nsmt.training.going import AVERAGED, Going
from nsmt.training.identification import gather_statistics
from nsmt.training.keeping import KeepAverage, KeepBest, KeepMean, Remembering
from nsmt.training.module import TranslationModule
from nsmt.training.optimization import for_stage
from nsmt.training.resuming import Resuming
from nsmt.training.settings import (
    CallbackSettings,
    DivergenceSettings,
    LoggerSettings,
    OptimizerSettings,
    ScheduleSettings,
    StageSettings,
    StateSettings,
    TrainerSettings,
)
from nsmt.training.sharding import whole
from nsmt.training.signals import GO_ON, StopSignal
from nsmt.training.snapshot import of_all_ranks
from nsmt.training.states import StageState
from nsmt.training.tracking import open_loggers
from nsmt.training.trainer import make_trainer, set_machine
from nsmt.training.warm_up import LargestFirst
from nsmt.training.world import rank

_LOG = logging.getLogger(__name__)
IDENTIFICATION = "identification"
CHECKPOINT = "checkpoint"
STATISTICS = "statistics.safetensors"
# What a stage starts from that starts from nothing.
_RANDOM = "random"


@dataclass(frozen=True, slots=True)
class StageContext:
    """What all stages of a run share."""

    name: str
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

    def data(self, *, stage_seed: int) -> TranslationData:
        """The batches of a stage."""
        return TranslationData(
            self.corpus,
            batch=self.batch,
            temperature=self.temperature,
            curriculum=self.curriculum,
            seed=stage_seed,
            background=self.trainer.background,
            even=self.trainer.strategy == "fsdp",
        )


def run_schedule(
    context: StageContext, schedule: ScheduleSettings, method: MethodSettings
) -> list[str]:
    """Run every stage and return their names, in the order of a table's rows.

    Raises PreemptionError where the state is whole after a signal, and TrainingError if a stage
    diverges again and again.
    """
    with context.stop.holding():
        return _run_schedule(context, schedule, method)


def _run_schedule(
    context: StageContext, schedule: ScheduleSettings, method: MethodSettings
) -> list[str]:
    set_machine(context.trainer)
    given: NeuronAtlas | None = None
    if schedule.checkpoint is not None:
        dense = _fitting(load_checkpoint(Path(schedule.checkpoint)), context)
        # Refused before anything is written or measured.
        if schedule.atlas is not None:
            given = _given_atlas(Path(schedule.atlas), dense)
        _keep(context.folder / DENSE, dense)
    else:
        dense = train_stage(
            context, DENSE, schedule.dense, start=lambda: _new_model(context), seed=context.seed
        )
    if schedule.kind == "dense":
        return [DENSE]
    statistics = identify(context, dense)
    evidence = Evidence(statistics, context.selection, context.corpus.pivot, method)
    names = list(dict.fromkeys((CONTROL, method.name)))
    for name in names:
        atlas = METHODS[name].atlas(evidence)
        if atlas is not None and given is not None:
            atlas = given
        train_stage(
            context,
            name,
            schedule.specialise,
            start=lambda: load_checkpoint(context.folder / DENSE / CHECKPOINT),
            atlas=atlas,
            seed=context.seed + 1,
            parent=dense.fingerprint,
        )
    return [DENSE, *names]


def train_stage(
    context: StageContext,
    name: str,
    stage: StageSettings,
    *,
    start: Callable[[], TrainedModel],
    seed: int,
    atlas: NeuronAtlas | None = None,
    parent: str | None = None,
) -> TrainedModel:
    """Train from `start` with a fresh optimiser, or go on; all ranks return the same model.

    `parent` is the fingerprint of the weights to start from, None for new ones.
    """
    folder = context.folder / name
    # Put in place whole, so that a damaged one was damaged later, which is not ours to undo.
    if (folder / CHECKPOINT).exists():
        _LOG.info("%s is there already", name)
        return _made_from(load_checkpoint(folder / CHECKPOINT), context, parent=parent)
    origin = {
        "stage": name,
        "start": parent or _RANDOM,
        "corpus": context.corpus.fingerprint,
        "atlas": None if atlas is None else atlas.fingerprint,
    }
    going = Going(folder, origin)
    while True:
        # The same on all ranks for new weights, then each rank has its own dropout.
        pl.seed_everything(seed, workers=True, verbose=False)
        trained = start()
        trained.atlas = atlas
        torch.manual_seed(seed + 1_000_003 * rank())
        try:
            updates = _fit(context, name, stage, trained, seed=seed, going=going)
            break
        except RollBackError as request:
            going.back(request)
    trained.history = {
        "stage": name,
        "updates": updates,
        "corpus": context.corpus.fingerprint,
        "start": trained.fingerprint or _RANDOM,
    }
    _keep(folder, trained)
    going.clear(keep_states=context.states.keep_finished)
    _obey(context.stop)
    return load_checkpoint(folder / CHECKPOINT)


def _fit(
    context: StageContext,
    name: str,
    stage: StageSettings,
    trained: TrainedModel,
    *,
    seed: int,
    going: Going,
) -> int:
    """Train in place until the stage's end; the number of updates taken."""
    folder, state = context.folder / name, going.state()
    optimizer = for_stage(context.optimizer, stage)
    module = TranslationModule(
        trained.model,
        directions=trained.directions,
        masks=trained.masks(),
        optimizer=optimizer,
        updates=stage.updates,
        loss=context.trainer.loss,
    )
    data = context.data(stage_seed=seed)
    with open_loggers(context.logger, folder=folder, stage=name, state=state) as loggers:
        trainer = make_trainer(
            context.trainer,
            folder=folder,
            callbacks=_callbacks(context, name, stage, seed=seed, going=going, state=state),
            loggers=loggers,
            updates=stage.updates,
            validate_every=stage.validate_every,
            accumulation=data.accumulation(context.trainer.world),
            optimizer=optimizer,
        )
        trained.model.train()
        trained.model.recompute = context.trainer.recompute
        if context.trainer.compile:
            trained.model.compile_layers()
        _LOG.info("%s: %d updates begin, %d are done", name, stage.updates, going.update)
        trainer.fit(module, datamodule=data)
    trained.model = whole(trained.model).eval()
    _LOG.info("%s: %d updates done", name, trainer.global_step)
    return trainer.global_step


def identify(context: StageContext, trained: TrainedModel) -> ActivationStatistics:
    """Count what fires for each direction on its validation set, in one pass."""
    folder = context.folder / IDENTIFICATION
    if (kept := _kept_statistics(folder, model=trained.fingerprint)) is not None:
        return kept
    statistics = gather_statistics(
        trained,
        context.data(stage_seed=context.seed),
        rule=context.selection.count_rule,
        trainer=context.trainer,
        folder=folder,
        progress=context.callbacks.progress,
    )
    _LOG.info("identified the neurons of %d directions", len(statistics.tasks))
    if rank() == 0:
        with replace_folder(folder) as building:
            statistics.save(building / STATISTICS)
            write_manifest(building)
    _obey(context.stop)
    return statistics


def _kept_statistics(folder: Path, *, model: str) -> ActivationStatistics | None:
    """Those of an earlier start; without them, or if they are damaged, they are counted again."""
    if not folder.is_dir():
        return None
    try:
        verified_manifest(folder, required=(STATISTICS,))
    except CheckpointError as error:
        _LOG.warning("neurons are identified again: %s", error.problem)
        return None
    statistics = ActivationStatistics.load(folder / STATISTICS)
    return statistics if statistics.provenance.get("model") == model else None


def _obey(stop: StopSignal) -> None:
    """End here, in all ranks, if a signal reached any of them."""
    if any(of_all_ranks(stop.asked is not None)):
        stop.obey()
        raise PreemptionError("stopped by a signal to another rank", fix=GO_ON)


def _callbacks(
    context: StageContext,
    name: str,
    stage: StageSettings,
    *,
    seed: int,
    going: Going,
    state: StageState | None,
) -> list[pl.Callback]:
    settings, folder = context.callbacks, context.folder / name
    guard = Guard(context.divergence, folder=folder, rollbacks=going.rollbacks)
    metrics = StageMetrics(
        LABELS[name],
        updates=stage.updates,
        log_every=settings.log_every,
        progress=settings.progress,
        guard=guard,
        compiled=context.trainer.compile,
    )
    members: dict[str, Remembering] = {
        "guard": guard,
        "diverged": StopDiverged(keep_best=settings.keep == "best"),
    }
    if settings.keep == "best":
        members["keep"] = KeepBest()
    elif settings.keep == "average":
        members["keep"] = KeepAverage(going.states / AVERAGED, count=settings.average)
    elif settings.keep == "ema":
        members["keep"] = KeepMean(settings.ema_decay)
    if settings.patience is not None:
        members["early"] = StopEarly(settings.patience)
    callbacks: list[pl.Callback] = [metrics, *members.values()]
    if context.trainer.accelerator == "gpu" and context.batch.layout == "padded":
        callbacks.append(LargestFirst())
    resuming = Resuming(
        context.states,
        folder=folder,
        origin=going.origin,
        state=state,
        stop=context.stop,
        members=members,
        validate_every=min(stage.validate_every, stage.updates),
        seed=seed,
    )
    return [*callbacks, resuming]


def _new_model(context: StageContext) -> TrainedModel:
    vocabulary = context.corpus.vocabulary
    model = Transformer(context.model, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    return TrainedModel(model, vocabulary, list(context.corpus.directions))


def _made_from(trained: TrainedModel, context: StageContext, *, parent: str | None) -> TrainedModel:
    """A finished stage, if it was trained on this corpus and from these weights."""
    made = (trained.history.get("corpus"), trained.history.get("start"))
    if made != (context.corpus.fingerprint, parent or _RANDOM):
        raise CheckpointError(
            f"{context.folder} holds a stage of other text or of another checkpoint",
            fix="start this run again with resume=never",
        )
    return trained


def _fitting(trained: TrainedModel, context: StageContext) -> TrainedModel:
    """The checkpoint, if it speaks this corpus's vocabulary."""
    if trained.vocabulary.fingerprint != context.corpus.vocabulary.fingerprint:
        raise CheckpointError(
            "the checkpoint's vocabulary is not that of the corpus",
            fix="prepare the corpus as it was for that checkpoint, with the same data settings",
        )
    if trained.atlas is not None:
        raise CheckpointError(
            "schedule.checkpoint is a specialised model, not a dense one",
            fix="name the dense checkpoint that it came from",
        )
    # Positions have no weights: a model may be given more of them.
    own, asked = (settings.model_dump() for settings in (trained.model.settings, context.model))
    if own | {"max_positions": None} != asked | {"max_positions": None}:
        differing = ", ".join(f"{key}={own[key]}" for key in own if own[key] != asked[key])
        raise CheckpointError(
            "the checkpoint has another shape than the configured model",
            fix=f"set model to what the checkpoint has: {differing}",
        )
    roomy = _new_model(context)
    roomy.model.load_state_dict(trained.model.state_dict())
    trained.model = roomy.model.eval()
    trained.directions = list(context.corpus.directions)
    return trained


def _given_atlas(path: Path, dense: TrainedModel) -> NeuronAtlas:
    atlas = NeuronAtlas.load(path)
    measured = atlas.provenance.get("statistics", {}).get("model")
    if measured is not None and measured != dense.fingerprint:
        raise AtlasError(
            f"{path} was identified on another model than schedule.checkpoint",
            fix="identify the neurons of this checkpoint, or name the checkpoint of the atlas",
        )
    # Sites and directions must fit too.
    DirectionMasks(atlas, dense.directions, sites=dense.model.sites)
    return atlas


def _keep(folder: Path, trained: TrainedModel) -> None:
    """Write the stage's checkpoint, once, on rank 0."""
    if rank() == 0:
        trained.fingerprint = save_checkpoint(folder / CHECKPOINT, trained)
