"""The stages of a run: dense training, identification, and the branches that follow."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from nsmt.errors import AtlasError, CheckpointError
from nsmt.files import replace_folder
from nsmt.manifest import verified_manifest, write_manifest
from nsmt.methods import CONTROL, DENSE, ContinueDense, Evidence, Method
from nsmt.models.checkpoint import TrainedModel, load_checkpoint
from nsmt.models.masks import DirectionMasks
from nsmt.models.systems import CHECKPOINT
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics, CountRule
from nsmt.training.branches import train_branch
from nsmt.training.identification import gather_statistics
from nsmt.training.settings import ScheduleSettings
from nsmt.training.snapshot import of_first_rank, wait_for_all_ranks
from nsmt.training.stages import Stage, StageContext, obey, put, train_stage
from nsmt.training.timings import timed
from nsmt.training.trainer import set_machine
from nsmt.training.world import join_ranks, rank

_LOG = logging.getLogger(__name__)
IDENTIFICATION = "identification"
STATISTICS = "statistics.safetensors"


def run_schedule(context: StageContext, schedule: ScheduleSettings, method: Method) -> list[str]:
    """Run every stage and return their names, in the order of a table's rows.

    Raises PreemptionError where the state is whole after a signal, and TrainingError if a stage
    diverges again and again.
    """
    with context.stop.holding():
        return _run_schedule(context, schedule, method)


def _run_schedule(context: StageContext, schedule: ScheduleSettings, method: Method) -> list[str]:
    set_machine(context.trainer)
    join_ranks(context.trainer)
    given: NeuronAtlas | None = None
    if schedule.checkpoint is not None:
        dense = _fitting(load_checkpoint(Path(schedule.checkpoint)), context)
        # Refused before anything is written or measured.
        if schedule.atlas is not None:
            given = _given_atlas(Path(schedule.atlas), dense)
        dense = _kept_dense(context, dense)
    else:
        stage = Stage(DENSE, schedule.dense, context.new_model, context.seed)
        dense = train_stage(context, stage)
    if schedule.kind == "dense":
        return [DENSE]
    corpus = context.corpus
    evidence = Evidence(
        identify(context, dense),
        context.selection,
        corpus.pivot,
        corpus.languages,
        context.seed,
        given,
    )
    branches = {CONTROL: ContinueDense(), method.name: method}
    for name, branch in branches.items():
        train_branch(context, schedule, name, branch.treatment(evidence), dense=dense)
    return [DENSE, *branches]


def identify(context: StageContext, trained: TrainedModel) -> ActivationStatistics:
    """Count what fires for each direction on its validation set, in one pass."""
    folder = context.folder / IDENTIFICATION
    rule = context.selection.count_rule
    if of_first_rank(lambda: _has_statistics(folder, model=trained.fingerprint, rule=rule)):
        return ActivationStatistics.load(folder / STATISTICS)
    with timed(context.folder, IDENTIFICATION):
        statistics = gather_statistics(
            trained,
            context.data(stage_seed=context.seed),
            rule=rule,
            trainer=context.trainer,
            folder=folder,
            progress=context.callbacks.progress,
        )
    _LOG.info("identified the neurons of %d directions", len(statistics.tasks))
    if rank() == 0:
        with replace_folder(folder) as building:
            statistics.save(building / STATISTICS)
            write_manifest(building)
    obey(context.stop)
    return statistics


def _has_statistics(folder: Path, *, model: str, rule: CountRule) -> bool:
    """Whether those of an earlier start are there, whole, of this model and by this rule."""
    if not folder.is_dir():
        return False
    try:
        verified_manifest(folder, required=(STATISTICS,))
    except CheckpointError as error:
        _LOG.warning("neurons are identified again: %s", error.problem)
        return False
    statistics = ActivationStatistics.load(folder / STATISTICS)
    return statistics.provenance.get("model") == model and statistics.rule == rule


def _kept_dense(context: StageContext, given: TrainedModel) -> TrainedModel:
    """The checkpoint as the run has it: written once, since others may be reading it."""
    place = context.folder / DENSE / CHECKPOINT
    if of_first_rank(lambda: not place.exists()):
        put(context, DENSE, given)
        wait_for_all_ranks()
    kept, weights = load_checkpoint(place), given.model.state_dict()
    if any(not torch.equal(own, weights[name]) for name, own in kept.model.state_dict().items()):
        raise CheckpointError(
            f"{context.folder} was begun from another model than schedule.checkpoint is now",
            fix="give this run a name of its own, or start it again with resume=never",
        )
    return kept


def _fitting(trained: TrainedModel, context: StageContext) -> TrainedModel:
    """The checkpoint, if it speaks this corpus's vocabulary."""
    if trained.vocabulary.fingerprint != context.corpus.vocabulary.fingerprint:
        raise CheckpointError(
            "the checkpoint's vocabulary is not that of the corpus",
            fix="prepare the corpus as it was for that checkpoint, with the same data settings",
        )
    if not trained.is_plain:
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
    roomy = context.new_model()
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
