"""Start the ranks of a run by torchrun, from a written configuration and never from `sys.argv`.

Lightning's own launcher parses the command line again in every rank, which breaks Hydra's multirun
(pitfalls 1 and 2); here rank 0's decisions are on disk before any rank starts.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from nsmt.commands.config import RunConfig
from nsmt.commands.fit import require_held_out, require_room
from nsmt.commands.given import given_atlas
from nsmt.commands.notes import RankError
from nsmt.commands.processes import run_ranks
from nsmt.data.corpus import Corpus
from nsmt.data.plan import require_updates
from nsmt.data.prepare import prepare
from nsmt.data.settings import MixSettings
from nsmt.errors import PreemptionError
from nsmt.files import replace_text
from nsmt.methods import CONTROL, DENSE
from nsmt.models.systems import is_whole
from nsmt.settings import flat
from nsmt.training.schedule import run_schedule
from nsmt.training.signals import GO_ON, StopSignal
from nsmt.training.stages import StageContext
from nsmt.training.terms import GIVEN_ATLAS
from nsmt.training.tracking import tracked
from nsmt.training.world import launched, rank

CONFIG = "config.json"


def run_stages(config: RunConfig, corpus: Corpus, stop: StopSignal) -> list[str]:
    """Train in this process, or in as many as the trainer asks for; the names of the stages."""
    if config.trainer.world > 1 and not launched():
        _torchrun(config, stop)
        return stage_names(config)
    return train_here(config, corpus, stop)


def train_here(config: RunConfig, corpus: Corpus, stop: StopSignal) -> list[str]:
    """Run every stage as one rank."""
    context = StageContext(
        folder=config.folder,
        seed=config.seed,
        corpus=corpus,
        temperature=config.data.temperature,
        curriculum=config.data.curriculum,
        model=config.model,
        batch=config.batch,
        optimizer=config.optimizer,
        selection=config.selection,
        trainer=config.trainer,
        logger=config.logger,
        callbacks=config.callbacks,
        states=config.states,
        divergence=config.divergence,
        stop=stop,
        settings=dict(flat(config.identity())) | given_atlas(config.schedule, key=GIVEN_ATLAS),
    )
    with tracked(
        config.logger,
        run=config.run_name,
        folder=config.folder,
        config=config.model_dump(mode="json"),
        first=rank() == 0,
    ):
        return run_schedule(context, config.schedule, config.method)


def prepared_corpus(config: RunConfig) -> Corpus:
    """The corpus, prepared if it was not, if the run can train and be tested on it."""
    corpus = prepare(
        config.data,
        corpora=Path(config.paths.corpora),
        downloads=Path(config.paths.downloads),
        progress=config.callbacks.progress,
    )
    require_held_out(corpus)
    require_room(corpus, config.model.max_positions)
    _require_updates(config, corpus)
    return corpus


def _require_updates(config: RunConfig, corpus: Corpus) -> None:
    """Refuse updates of more micro-batches than there are sentences, in any stage of the run."""
    sizes = {direction: len(corpus.table(direction, "train")) for direction in corpus.directions}
    schedule, parts = config.schedule, config.method.parts
    for stage in schedule.trained(parts):
        per_update = schedule.stage(stage).batch(config.batch).per_update
        if stage == parts:
            for name, directions in config.method.own_models(corpus.directions).items():
                require_updates(
                    sum(sizes[direction] for direction in directions),
                    per_update,
                    of=f"an epoch of {name}, which has a model of its own,",
                    key=f"schedule.{parts}.per_update",
                )
            continue
        for mix in config.data.curriculum or (MixSettings(),):
            drawn = (
                n for d, n in sizes.items() if mix.directions is None or str(d) in mix.directions
            )
            key = schedule.asking(stage, "per_update")
            require_updates(sum(drawn), per_update, key=key)


def _torchrun(config: RunConfig, stop: StopSignal) -> None:
    path = config.folder / CONFIG
    replace_text(path, config.model_dump_json(indent=1))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={config.trainer.devices}", "-m", "nsmt.commands.rank", str(path)]
    # torchrun's own choice is one thread a rank, with a notice.
    threads = config.trainer.threads or max(1, (os.cpu_count() or 1) // config.trainer.devices)
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    status = run_ranks(command, environment=environment, stop=stop)
    if status:
        raise RankError(f"the ranks ended with status {status}", fix="the first error is above")
    directions = config.data.parsed_directions
    missing = [n for n in stage_names(config) if not is_whole(config.folder / n, directions)]
    if missing:
        raise PreemptionError(
            f"stopped by a signal in the stage {missing[0]}; its state is in {config.folder}",
            fix=GO_ON,
        )


def stage_names(config: RunConfig) -> list[str]:
    """The stages that a finished schedule leaves, in table order."""
    if config.schedule.kind == "dense":
        return [DENSE]
    return list(dict.fromkeys((DENSE, CONTROL, config.method.name)))
