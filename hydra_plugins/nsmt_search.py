"""hydra/sweeper=search: Optuna proposes the values, Hydra's launchers run them.

Hydra looks for sweepers in this namespace, and imports this file at every start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):  # type: ignore[misc]
    """Asks for trials in batches until there are `n_trials` results."""

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 -- checked by SearchSettings
        self.settings = settings

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra before `sweep`."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run the search; the returns of all jobs, batch by batch."""
        from nsmt.commands.sweep_search import search  # slow to import

        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        return search(
            self.settings,
            parser.parse_overrides(arguments),
            launch=self._launch,
            folder=Path(self.config.hydra.sweep.dir),
        )

    def _launch(self, batch: Sequence[Mapping[str, str]], first: int) -> list[Any]:
        jobs = [[f"{key}={value}" for key, value in job.items()] for job in batch]
        self.validate_batch_is_legal(jobs)
        return list(self.launcher.launch(jobs, initial_job_idx=first))
