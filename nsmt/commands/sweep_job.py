"""One job of a sweep, wherever a launcher runs it: a process of its own, watched to its end.

The launcher's worker only composes, starts `nsmt.commands.sweep_process` with the resolved
configuration, and writes down how it ended. So a job that is killed is recorded like one that
fails, and ranks never see `--multirun` (pitfalls 1 and 9).
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nsmt.commands.compose import checked
from nsmt.commands.config import RunConfig
from nsmt.commands.failure import show_failure
from nsmt.commands.processes import die_with_parent
from nsmt.commands.registry import COMMANDS
from nsmt.commands.supervision import Ended, run_child
from nsmt.commands.sweeps import Job, Sweep
from nsmt.errors import AtlasError, CheckpointError, DataError, NsmtError, PreemptionError
from nsmt.files import replace_text
from nsmt.progress import result_console
from nsmt.records import now, read_record
from nsmt.settings import Settings

FAILURE_RECORD: Final = "failure.json"


class RankEndedError(RuntimeError):
    """A rank beside the first failed; the cluster is to end the others."""


@dataclass(frozen=True, slots=True)
class SweepJob:
    """What a launcher calls with each job's configuration; it can be sent to other machines."""

    command: str
    folder: str
    launcher: str

    def __call__(self, config: DictConfig) -> Job:
        """Run the job; what became of it."""
        hydra = HydraConfig.get()
        sweep = Sweep(Path(self.folder))
        job = Job(int(hydra.job.num), _given(hydra.overrides.task), "running")
        ranks = rank_environment()
        try:
            settings = self._settings(config, sweep)
            run = _run_folder(settings)
        except NsmtError as error:
            show_failure(error)
            job = replace(job, state="failed", reason=error.problem, fix=error.fix)
            sweep.write_job(job)
            return job
        job = replace(job, run=None if run is None else str(run))
        if int(ranks.get("RANK", 0)) > 0:
            return self._beside(job, settings, sweep, ranks)
        if run is not None and _is_finished(run, settings):
            job = replace(job, state="finished")
            sweep.write_job(job)
            _say(f"job {job.number} is finished already: {run}")
            return job
        return self._first(job, settings, sweep, ranks)

    def _settings(self, config: DictConfig, sweep: Sweep) -> Settings:
        settings = checked(config, COMMANDS[self.command].schema)
        if isinstance(settings, RunConfig) and settings.logger.group is None:
            logger = settings.logger.model_copy(update={"group": sweep.name})
            settings = settings.model_copy(update={"logger": logger})
        return settings

    def _first(self, job: Job, settings: Settings, sweep: Sweep, ranks: Mapping[str, str]) -> Job:
        """The job as its only process, or as the first of its ranks: it keeps the records."""
        log = None if self.launcher == "basic" else sweep.job_path(job.number, ".log")
        job = replace(job, log=None if log is None else str(log))
        sweep.write_job(job)
        _say(f"job {job.number} begins{f': {job.run}' if job.run else ''}")
        told = sweep.job_path(job.number, ".told")
        ended = self._run(job, settings, told, log=log, ranks=ranks)
        job = _ended(job, ended, told)
        sweep.write_job(job)
        _record_failure(job, ended, self.command)
        _say(f"job {job.number} {job.state}{f': {job.reason}' if job.reason else ''}")
        if ended.asked is not None and self.launcher in ("basic", "joblib"):
            # The launcher is to start no further job. It would go on after any Exception.
            sys.exit(PreemptionError.status)
        return job

    def _beside(self, job: Job, settings: Settings, sweep: Sweep, ranks: Mapping[str, str]) -> Job:
        """A rank that another task of the job started; the first keeps the records."""
        log = sweep.job_path(job.number, f".rank{ranks['RANK']}.log")
        told = log.with_suffix(".told")
        job = _ended(job, self._run(job, settings, told, log=log, ranks=ranks), told)
        if job.state == "failed":
            raise RankEndedError(f"rank {ranks['RANK']} failed: {job.reason} (see {log})")
        return job

    def _run(
        self,
        job: Job,
        settings: Settings,
        told: Path,
        *,
        log: Path | None,
        ranks: Mapping[str, str],
    ) -> Ended:
        told.parent.mkdir(parents=True, exist_ok=True)
        if self.launcher == "joblib":
            # Its workers would stay behind when the sweep is killed, and go on.
            die_with_parent(signal.SIGTERM)
        return run_child(
            [sys.executable, "-m", "nsmt.commands.sweep_process", self.command, str(told)],
            environment=ranks,
            given=json.dumps(
                {"overrides": job.overrides, "config": settings.model_dump(mode="json")}
            ),
            log=log,
            own_terminal=self.launcher != "joblib",
        )


def rank_environment() -> dict[str, str]:
    """What makes this process one of several ranks, where submitit started several tasks."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return {}
    from submitit import JobEnvironment  # an extra
    from submitit.helpers import TorchDistributedEnvironment

    if JobEnvironment().num_tasks == 1:
        return {}
    found = TorchDistributedEnvironment()
    return {
        "MASTER_ADDR": found.master_addr,
        "MASTER_PORT": str(found.master_port),
        "RANK": str(found.rank),
        "WORLD_SIZE": str(found.world_size),
        "LOCAL_RANK": str(found.local_rank),
        "LOCAL_WORLD_SIZE": str(found.local_world_size),
        "GROUP_RANK": str(found.rank // found.local_world_size),
    }


def _given(overrides: Iterable[str]) -> tuple[str, ...]:
    """The overrides as they were given: Hydra got a sign for keys that no YAML file mentions."""
    return tuple(override.lstrip("+") for override in overrides)


def _run_folder(settings: Settings) -> Path | None:
    """The folder of the run that a job makes; None where it only looks, or makes something else."""
    if not isinstance(settings, RunConfig) or settings.check:
        return None
    from nsmt.commands.train import check_consistency, decided

    check_consistency(settings)
    return decided(settings).folder


def _is_finished(run: Path, settings: Settings) -> bool:
    if isinstance(settings, RunConfig) and settings.resume == "never":
        return False
    # It imports torch, which the launcher's worker need not without runs.
    from nsmt.commands.given import changed_inputs, given_inputs

    try:
        record = read_record(run)
        given = given_inputs(settings.schedule) if isinstance(settings, RunConfig) else {}
    except (DataError, CheckpointError, AtlasError):
        # The run itself says what is damaged.
        return False
    finished = "finished" in record and not changed_inputs(record, given)
    return finished and (run / "report" / "report.html").is_file()


def _ended(job: Job, ended: Ended, told: Path) -> Job:
    """What became of the job, from its exit status and what it had to say."""
    said: dict[str, Any] = {}
    if told.is_file():
        said = json.loads(told.read_text(encoding="utf-8"))
        told.unlink()
    if ended.status == 0:
        return replace(job, state="finished")
    again = "run the same command again to go on"
    if ended.status == PreemptionError.status:
        return replace(job, state="stopped", reason=said.get("reason"), fix=said.get("fix"))
    if (name := ended.killed_by) is not None:
        if ended.asked is not None:
            return replace(job, state="stopped", reason=f"ended by {name}", fix=again)
        if name == "SIGKILL":
            again += "; if nobody killed it, the system ran out of memory"
        return replace(job, state="failed", reason=f"killed by {name}", fix=again)
    reason = said.get("reason") or f"ended with status {ended.status}"
    fix = said.get("fix") or f"its output says why{f': {job.log}' if job.log else ''}"
    return replace(job, state="failed", reason=reason, fix=fix, error=said.get("error"))


def _record_failure(job: Job, ended: Ended, command: str) -> None:
    """Put the reason into the run folder, or take an earlier one out of it."""
    if job.run is None:
        return
    path = Path(job.run) / FAILURE_RECORD
    if job.state != "failed":
        path.unlink(missing_ok=True)
        return
    record = {
        "schema": 1,
        "reason": job.reason,
        "fix": job.fix,
        "status": ended.status,
        "at": now(),
        "host": platform.node(),
        "command": command,
        "overrides": list(job.overrides),
        "log": job.log,
    }
    replace_text(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def failure_reason(run: Path) -> str | None:
    """Why the last job of a run failed, on one line; None if it did not."""
    path = run / FAILURE_RECORD
    if not path.is_file():
        return None
    try:
        reason = json.loads(path.read_text(encoding="utf-8"))["reason"]
    except (ValueError, KeyError, TypeError):
        return f"{path} is damaged and does not say why"
    return " ".join(str(reason).split())


def _say(text: str) -> None:
    result_console().print(text, highlight=False, markup=False, soft_wrap=True)
