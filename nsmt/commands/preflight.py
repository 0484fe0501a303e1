"""Whether a launcher can start what the trainer asks for: told before anything is submitted."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nsmt.errors import ConfigurationError

_MODULES = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "search": "optuna",
}
_INSTALL = 'pip install "nsmt[sweep]"'
_UNUSED_GPUS = (
    "the launcher asks for GPUs, and the trainer for none",
    "add trainer=gpu or trainer=ddp, or choose launcher=slurm_cpu",
)


def require_installed(overrides: list[str]) -> None:
    """Raise a ConfigurationError where a launcher or sweeper is chosen that is not installed."""
    for word in overrides:
        key, _, choice = word.lstrip("+").partition("=")
        module = _MODULES.get(choice)
        if key in ("hydra/launcher", "hydra/sweeper") and module and not _found(module):
            raise ConfigurationError(f"{key}={choice} needs the extra sweep", fix=_INSTALL)


def launcher_name(config: DictConfig) -> str:
    """The choice made for hydra/launcher."""
    return str(OmegaConf.select(config, "hydra.runtime.choices")["hydra/launcher"])


def check_launcher(config: DictConfig) -> None:
    """Compare the tasks and GPUs that submitit would ask for with the ranks of the trainer."""
    name = launcher_name(config)
    trainer = OmegaConf.select(config, "trainer")
    if not name.startswith("submitit") or trainer is None:
        return
    launcher = config.hydra.launcher
    faults = [*_task_faults(launcher, trainer), *_gpu_faults(name, launcher, trainer)]
    if faults:
        raise ConfigurationError(
            f"hydra/launcher={name} does not fit the trainer:\n"
            + "\n".join(f"  - {problem}" for problem, _ in faults),
            fix="; ".join(fix for _, fix in faults),
        )


def require_slurm(config: DictConfig) -> None:
    """Raise a ConfigurationError where SLURM is to start the jobs and is not there."""
    name = launcher_name(config)
    if name == "submitit_slurm" and shutil.which("srun") is None:
        raise ConfigurationError(
            f"hydra/launcher={name} needs SLURM, and there is no srun here",
            fix="start it on a login node, or choose launcher=local",
        )


def _task_faults(launcher: Any, trainer: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    nodes, tasks = launcher.nodes, launcher.tasks_per_node
    devices, num_nodes = trainer.devices, trainer.num_nodes
    faults = []
    if nodes != num_nodes:
        faults.append(
            (
                f"hydra.launcher.nodes={nodes}, trainer.num_nodes={num_nodes}",
                f"set hydra.launcher.nodes={num_nodes}",
            )
        )
    # One task starts its ranks by torchrun, which reaches the GPUs of one node.
    if tasks != devices and not (tasks == 1 and num_nodes == 1):
        faults.append(
            (
                f"hydra.launcher.tasks_per_node={tasks}, trainer.devices={devices}",
                f"set hydra.launcher.tasks_per_node={devices}"
                + (", or 1 to start the ranks by torchrun" if num_nodes == 1 else ""),
            )
        )
    return faults


def _gpu_faults(name: str, launcher: Any, trainer: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    keys = ["gpus_per_node"]
    if name == "submitit_slurm":
        keys += ["gpus_per_task", "gres"]
    asked = any(launcher.get(key) for key in keys)
    if trainer.accelerator != "gpu":
        return [_UNUSED_GPUS] if asked else []
    # Clusters have words of their own for GPUs.
    if asked or launcher.get("additional_parameters"):
        return []
    return [
        (
            "the trainer asks for GPUs, and the launcher for none",
            f"set hydra.launcher.gpus_per_node={trainer.devices}",
        )
    ]


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
