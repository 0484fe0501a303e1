"""submitit for sweeps in which a job may die: the others are waited for, and all are told of.

Hydra's own launcher for submitit raises what it hears from the first job that failed, also where a
cluster took that job back at its time limit. Hydra looks for launchers in this namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus

# submitit and its launcher are the extra `sweep`; Hydra imports this file at every start.
INSTALLED = all(
    find_spec(name) is not None for name in ("submitit", "hydra_plugins.hydra_submitit_launcher")
)

# What is left of the time that a cluster gives ahead of its limit.
_TO_REQUEUE_S = 20.0

if INSTALLED:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher

    class _SubmititLauncher(BaseSubmititLauncher):  # type: ignore[misc]
        """Submits all jobs at once, then waits for each."""

        def executor(self) -> Any:  # noqa: ANN401 -- submitit is not typed for us
            """The executor as configured."""
            import submitit  # slow to import

            cluster = self._EXECUTOR
            shared = {"timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node"}
            shared |= {"mem_gb", "nodes", "name", "stderr_to_stdout"}
            given = dict(self.params)
            retries = given.pop("max_num_timeout", None)
            own = {} if retries is None else {f"{cluster}_max_num_timeout": retries}
            executor = submitit.AutoExecutor(given.pop("submitit_folder"), cluster=cluster, **own)
            executor.update_parameters(
                **{
                    key if key in shared else f"{cluster}_{key}": value
                    for key, value in given.items()
                    if value is not None
                }
            )
            return executor

        def checkpoint(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            """What is queued again when a cluster takes a job back: the same, once it has saved.

            submitit asks for it in a signal handler, and then requeues, which is when a cluster
            begins to end the job.
            """
            from nsmt.commands.supervision import end_running

            patience = float(self.params.get("signal_delay_s") or 0) - _TO_REQUEUE_S
            end_running(patience_s=max(patience, _TO_REQUEUE_S))
            return super().checkpoint(*arguments, **named)

        def launch(
            self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
        ) -> list[JobReturn]:
            """Run the jobs; what a job returned, or the error of one that ended otherwise."""
            executor = self.executor()
            Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
            numbers = range(initial_job_idx, initial_job_idx + len(job_overrides))
            jobs = executor.map_array(
                self,
                [list(overrides) for overrides in job_overrides],
                ["hydra.sweep.dir"] * len(numbers),
                list(numbers),
                [str(number) for number in numbers],
                [Singleton.get_state()] * len(numbers),
            )
            outcomes = [_outcome(n, job) for n, job in zip(numbers, jobs, strict=True)]
            with suppress(OSError):
                # submitit's own, where it put the jobs before they had numbers.
                Path(self.params["submitit_folder"]).rmdir()
            return outcomes

    class NsmtLocalLauncher(_SubmititLauncher):
        """Every job in processes of this machine, all at once."""

        _EXECUTOR = "local"

    class NsmtSlurmLauncher(_SubmititLauncher):
        """Every job as an element of a job array."""

        _EXECUTOR = "slurm"

        def executor(self) -> Any:  # noqa: ANN401
            """As configured; and one rank that fails ends the others of its job."""
            executor = super().executor()
            executor.update_parameters(slurm_srun_args=["--kill-on-bad-exit=1"])
            return executor


def _outcome(number: int, job: Any) -> JobReturn:  # noqa: ANN401
    from submitit.core.utils import UncompletedJobError

    from nsmt.commands.sweeps import LostJob

    try:
        returned: JobReturn = job.results()[0]
    except UncompletedJobError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        returned = JobReturn(status=JobStatus.COMPLETED)
        returned.return_value = LostJob(number, lines[0] if lines else "it did not return")
    return returned
