"""Start the ranks of a run by torchrun, from a written configuration and never from `sys.argv`.

Lightning's own launcher parses the command line again in every rank, which breaks Hydra's multirun
(pitfalls 1 and 2); here rank 0's decisions are on disk before any rank starts.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from nsmt.commands.config import RunConfig
from nsmt.commands.fit import require_held_out, require_room
from nsmt.commands.processes import run_ranks
from nsmt.data.corpus import Corpus
from nsmt.data.prepare import prepare
from nsmt.errors import NsmtError, PreemptionError
from nsmt.files import replace_text
from nsmt.methods import CONTROL, DENSE
from nsmt.models.checkpoint import is_complete
from nsmt.training.stages import CHECKPOINT, StageContext, run_schedule
from nsmt.training.tracking import tracked
from nsmt.training.world import launch_identity, launched, rank

CONFIG = "config.json"
# How much earlier than another rank the first may have failed.
_SLACK_S = 60.0
_POLL_S = 0.2


class RankError(NsmtError):
    """A rank that failed; its own message is above."""


def run_stages(config: RunConfig, corpus: Corpus) -> list[str]:
    """Train in this process, or in as many as the trainer asks for; the names of the stages."""
    if config.trainer.world > 1 and not launched():
        _torchrun(config)
        return stage_names(config)
    return train_here(config, corpus)


def train_here(config: RunConfig, corpus: Corpus) -> list[str]:
    """Run every stage as one rank."""
    context = StageContext(
        name=config.run_name,
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
    )
    with tracked(
        config.logger,
        run=config.run_name,
        folder=config.folder,
        config=config.model_dump(mode="json"),
        first=rank() == 0,
    ):
        names = run_schedule(context, config.schedule, config.method)
    if rank() == 0:
        _note(config).unlink(missing_ok=True)
    return names


def shared_corpus(config: RunConfig, *, patience_s: float = 24 * 3600) -> Corpus:
    """Prepare the corpus in rank 0; other ranks wait to hear where it is, or that rank 0 failed."""
    if rank() == 0:
        corpus = _prepared(config)
    else:
        corpus = Corpus.open(_heard_of(_note(config), patience_s=patience_s))
    # In every rank, so that all of them end where one does.
    require_held_out(corpus)
    require_room(corpus, config.model.max_positions)
    return corpus


def _prepared(config: RunConfig) -> Corpus:
    note = _note(config)
    note.unlink(missing_ok=True)
    folder = ""
    try:
        corpus = prepare(
            config.data,
            corpora=Path(config.paths.corpora),
            downloads=Path(config.paths.downloads),
            progress=config.callbacks.progress,
        )
        folder = str(corpus.folder)
        return corpus
    finally:
        if launched():
            replace_text(note, f"{launch_identity()}\n{folder}")


def _heard_of(note: Path, *, patience_s: float) -> Path:
    """The folder that rank 0 names in its note; an empty name says that it failed."""
    started, deadline = time.time(), time.monotonic() + patience_s
    while time.monotonic() < deadline:
        # An earlier launch may have left its note, and plain torchrun names all launches alike.
        if note.is_file() and note.stat().st_mtime >= started - _SLACK_S:
            launch, _, folder = note.read_text(encoding="utf-8").partition("\n")
            if launch == launch_identity():
                if not folder:
                    raise RankError(
                        "rank 0 could not prepare the corpus", fix="its own message says why"
                    )
                return Path(folder)
        time.sleep(_POLL_S)
    raise RankError("rank 0 prepared no corpus in time", fix="look at its log")


def _note(config: RunConfig) -> Path:
    """Where rank 0 tells the others about the corpus of this run: other runs may share that."""
    return Path(config.paths.runs) / f".{config.run_name}.note"


def _torchrun(config: RunConfig) -> None:
    path = config.folder / CONFIG
    replace_text(path, config.model_dump_json(indent=1))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={config.trainer.devices}", "-m", "nsmt.commands.rank", str(path)]
    # torchrun's own choice is one thread a rank, with a notice.
    threads = config.trainer.threads or max(1, (os.cpu_count() or 1) // config.trainer.devices)
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
    status = run_ranks(command, environment=environment)
    if status:
        raise RankError(f"the ranks ended with status {status}", fix="the first error is above")
    missing = [n for n in stage_names(config) if not is_complete(config.folder / n / CHECKPOINT)]
    if missing:
        raise PreemptionError(
            f"stopped by a signal in the stage {missing[0]}; its state is in {config.folder}",
            fix="run the same command again to go on",
        )


def stage_names(config: RunConfig) -> list[str]:
    """The stages that a finished schedule leaves, in table order."""
    if config.schedule.kind == "dense":
        return [DENSE]
    return list(dict.fromkeys((DENSE, CONTROL, config.method.name)))
