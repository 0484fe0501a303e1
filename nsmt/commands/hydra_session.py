"""Hydra on the configuration of this package: composing, one run, or a sweep.

Hydra's decorator parses `sys.argv`, and prints tracebacks where the user made a mistake; here its
own engine is called, and what it refuses becomes a ConfigurationError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from nsmt.commands.compose import COMPOSITION_ERRORS, conf_folder, plain_error
from nsmt.commands.launchers import register_launchers
from nsmt.commands.safety import require_harmless


@dataclass(frozen=True, slots=True)
class Session:
    """Hydra, ready for one root of `conf/`."""

    root: str

    def preview(self, overrides: Sequence[str], *, sweep: bool) -> DictConfig:
        """The composed configuration with Hydra's own node; of a sweep, what its jobs share.

        Raises ConfigurationError if it cannot be composed, or would run code or leak a secret.
        """
        mode = RunMode.MULTIRUN if sweep else RunMode.RUN
        try:
            config: DictConfig = _hydra().compose_config(
                config_name=self.root,
                overrides=list(overrides),
                run_mode=mode,
                validate_sweep_overrides=not sweep,
            )
        except COMPOSITION_ERRORS as error:
            raise plain_error(error) from None
        require_harmless(config)
        return config

    def run(self, task: TaskFunction, overrides: Sequence[str]) -> None:
        """One job, in this process; what it raises is raised."""
        returned = _hydra().run(
            config_name=self.root, task_function=task, overrides=[*overrides, "hydra.mode=RUN"]
        )
        _ = returned.return_value

    def sweep(self, task: TaskFunction, overrides: Sequence[str]) -> list[Any]:
        """All jobs, by the launcher of the configuration; what each returned."""
        words = [*overrides, "hydra.mode=MULTIRUN"]
        try:
            batches = _hydra().multirun(config_name=self.root, task_function=task, overrides=words)
        except (HydraException, OmegaConfBaseException) as error:
            raise plain_error(error) from None
        return [job.return_value for batch in batches for job in batch]


@contextmanager
def hydra_session(root: str) -> Iterator[Session]:
    """Hydra for the block, as there is one at a time."""
    register_launchers()
    folder = str(conf_folder().resolve())
    with initialize_config_dir(config_dir=folder, version_base="1.3", job_name=root):
        yield Session(root)


def _hydra() -> Any:  # noqa: ANN401 -- Hydra is not typed for us
    return GlobalHydra.instance().hydra
