"""hydra/launcher=submitit_local and submitit_slurm: nsmt's launchers, and what they default to."""

from __future__ import annotations

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from hydra_plugins.nsmt_launchers import INSTALLED

if INSTALLED:
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf

    # A week and a day, where Hydra's own have an hour; and as many time limits as it takes, as runs
    # go on where they were stopped. The keys are those of Hydra's own, whose schema workers use.
    @dataclass
    class LocalConf(LocalQueueConf):  # type: ignore[misc]
        """Processes of this machine."""

        _target_: str = "hydra_plugins.nsmt_launchers.NsmtLocalLauncher"
        timeout_min: int = 7 * 24 * 60

    @dataclass
    class SlurmConf(SlurmQueueConf):  # type: ignore[misc]
        """A job array."""

        _target_: str = "hydra_plugins.nsmt_launchers.NsmtSlurmLauncher"
        timeout_min: int = 24 * 60
        max_num_timeout: int = 100


def register_launchers() -> None:
    """Have the names mean nsmt's launchers; after Hydra found its plugins, which name their own."""
    Plugins.instance()
    if INSTALLED:
        store = ConfigStore.instance().store
        store(group="hydra/launcher", name="submitit_local", node=LocalConf, provider="nsmt")
        store(group="hydra/launcher", name="submitit_slurm", node=SlurmConf, provider="nsmt")
