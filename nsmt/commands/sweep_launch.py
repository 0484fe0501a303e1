"""`--multirun`: every job of a sweep by Hydra's launchers, and what became of them.

A job that fails is recorded and the others run; the same command again does what is missing.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf

from nsmt.commands.compose import checked_overrides, without_swept
from nsmt.commands.failure import FAILURE, error_console
from nsmt.commands.hydra_session import Session
from nsmt.commands.preflight import check_launcher, launcher_name, require_slurm
from nsmt.commands.registry import COMMANDS
from nsmt.commands.sweep_job import SweepJob
from nsmt.commands.sweeps import SWEEPS, Job, LostJob, Sweep, sweep_name
from nsmt.errors import NsmtError, PreemptionError
from nsmt.progress import result_console

_FOLDER: Final = "hydra.sweep.dir"
_LAUNCHER_WORDS: Final = ("launcher=", "hydra/launcher=", "hydra.launcher.")


class LauncherError(NsmtError):
    """The launcher itself lost a process; jobs that had begun have kept their states."""


def run_sweep(name: str, session: Session, given: Sequence[str], shared: DictConfig) -> None:
    """Run the jobs; exits with status 2 if some failed, 75 if some were stopped by a signal."""
    sweep, jobs = launch_sweep(name, session, given, shared)
    if status := tell_ended(sweep, jobs):
        sys.exit(status)


def check_sweep(
    name: str, session: Session, given: Sequence[str], shared: DictConfig, task: TaskFunction
) -> None:
    """Call `task` for every job here, one after the other; nothing is submitted or written.

    A search has no jobs before it is run: what they share is a job.
    """
    check_launcher(shared)
    if OmegaConf.select(shared, "hydra.runtime.choices")["hydra/sweeper"] != "basic":
        shared_words = checked_overrides(session.root, without_swept(given), COMMANDS[name].schema)
        session.preview(shared_words, sweep=False)
        session.run(task, shared_words)
        return
    words = [*given, *_swept(shared, given)]
    here = [word for word in words if not word.lstrip("+").startswith(_LAUNCHER_WORDS)]
    overrides = checked_overrides(session.root, here, COMMANDS[name].schema)
    with tempfile.TemporaryDirectory() as folder:
        own = [f"{_FOLDER}={quoted(folder)}", "hydra.sweep.subdir=.", "hydra.sweeper.params=null"]
        session.sweep(task, [*overrides, *own])


def launch_sweep(
    name: str, session: Session, given: Sequence[str], shared: DictConfig
) -> tuple[Sweep, list[Job]]:
    """Run the jobs, and what became of each.

    `given` are the overrides of the command line, `shared` is what they compose to without what is
    swept.
    """
    check_launcher(shared)
    require_slurm(shared)
    words = [*given, *_swept(shared, given)]
    overrides = checked_overrides(session.root, words, COMMANDS[name].schema)
    chosen = any(word.lstrip("+").startswith(f"{_FOLDER}=") for word in words)
    folder = Path(shared.hydra.sweep.dir) if chosen else _folder(name, shared, words)
    sweep = Sweep(folder)
    sweep.begin(name, words)
    # All jobs share the folder: they keep their files apart by their numbers.
    own = [f"{_FOLDER}={quoted(str(folder))}", "hydra.sweep.subdir=.", "hydra.sweeper.params=null"]
    task = SweepJob(name, str(folder), launcher_name(shared))
    try:
        returned = session.sweep(task, [*overrides, *own])
    except Exception as error:
        if type(error).__name__ != "TerminatedWorkerError":
            raise
        raise LauncherError(
            "a process of the launcher was killed, and the sweep ended with it",
            fix="run the same command again to go on; with fewer jobs at once if memory ran out",
        ) from None
    return sweep, [_job(sweep, result) for result in returned]


def _swept(shared: DictConfig, given: Sequence[str]) -> list[str]:
    """What hparams_search sweeps, as overrides: checked like those, which go before them."""
    keys = {word.lstrip("+").partition("=")[0] for word in given}
    params = OmegaConf.select(shared, "hydra.sweeper.params") or {}
    return [f"{key}={value}" for key, value in params.items() if key not in keys]


def _folder(name: str, shared: DictConfig, words: Sequence[str]) -> Path:
    runs = OmegaConf.select(shared, "paths.runs") or "runs"
    title = OmegaConf.select(shared, "name") or name.replace(" ", "-")
    return Path(runs) / SWEEPS / sweep_name(name, str(title), words)


def quoted(text: str) -> str:
    """A text as a quoted value of Hydra's command-line grammar."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _job(sweep: Sweep, result: Job | LostJob) -> Job:
    """What became of a job; one that the launcher lost is as its file tells it, and failed."""
    if isinstance(result, Job):
        return result
    job = {job.number: job for job in sweep.jobs()}.get(result.number)
    job = job or Job(result.number, (), "running")
    if job.state not in ("failed", "stopped"):
        job = replace(
            job,
            state="failed",
            reason=f"the launcher lost it: {result.reason}",
            fix="run the same command again to go on",
        )
        sweep.write_job(job)
    return job


def tell_ended(sweep: Sweep, jobs: Sequence[Job]) -> int:
    """Print how a sweep ended; 2 if jobs failed, 75 if some were stopped, else 0."""
    common = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    console = error_console()
    unfinished = [job for job in jobs if job.state != "finished"]
    for job in unfinished:
        words = " ".join(w for w in job.overrides if w not in common)
        console.print(
            f"{job.state}: {words or f'job {job.number}'}\n  {job.reason}\n  fix: {job.fix}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    failed = sum(job.state == "failed" for job in jobs)
    stopped = len(unfinished) - failed
    result_console().print(
        f"sweep {sweep.folder}: {len(jobs) - len(unfinished)} of {len(jobs)} jobs finished"
        + (f", {failed} failed" if failed else "")
        + (f", {stopped} stopped" if stopped else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if failed:
        return FAILURE
    return PreemptionError.status if stopped else 0
