"""Who started this process, as which of how many ranks, and whether that is what was asked for.

Ranks are started by torchrun (which nsmt does itself on one node), by `srun` or by submitit; each
says so in the environment. An allocation is no launcher: a batch script without `srun` is one
process, whatever number of tasks it was granted (pitfall 3).
"""

from __future__ import annotations

import atexit
import gc
import os
from dataclasses import dataclass
from typing import Final, Literal

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed.constants import default_pg_timeout

from nsmt.errors import ConfigurationError
from nsmt.training.settings import TrainerSettings

Launcher = Literal["torchrun", "srun", "submitit"]
_IDENTITY: Final = (
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT"),
    # A job that was requeued keeps its number.
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "SUBMITIT_LOCAL_JOB_ID"),
)


@dataclass(frozen=True, slots=True)
class World:
    """The ranks that a launcher started, as the environment tells them."""

    launcher: Launcher
    ranks: int
    rank: int
    per_node: int

    @property
    def nodes(self) -> int:
        """On how many machines."""
        return max(1, self.ranks // self.per_node)


def found_world() -> World | None:
    """The ranks that this process is one of; None where nobody started it as one of several."""
    if "WORLD_SIZE" in os.environ:
        ranks = _number("WORLD_SIZE")
        launcher: Launcher = "submitit" if "SUBMITIT_EXECUTOR" in os.environ else "torchrun"
        return World(launcher, ranks, _number("RANK"), _number("LOCAL_WORLD_SIZE", ranks))
    # Set by srun for its tasks, and for no batch script.
    if "SLURM_STEP_ID" in os.environ:
        ranks = _number("SLURM_STEP_NUM_TASKS", _number("SLURM_NTASKS", 1))
        if ranks > 1:
            nodes = _number("SLURM_STEP_NUM_NODES", _number("SLURM_NNODES", 1))
            return World("srun", ranks, _number("SLURM_PROCID"), max(1, ranks // nodes))
    return None


def launched() -> bool:
    """Whether a launcher started this process as one of several ranks."""
    return found_world() is not None


def rank() -> int:
    """This process's rank, before any process group exists."""
    world = found_world()
    return 0 if world is None else world.rank


def launch_identity() -> str:
    """The same text in all ranks of one launch, and another in the next launch.

    But see `launches_look_alike`.
    """
    known = [f"{name}={os.environ.get(name, '')}" for name in _IDENTITY]
    world = found_world()
    if world is not None and world.launcher == "torchrun" and world.nodes == 1:
        # All have the same parent.
        known.append(f"parent={os.getppid()}")
    return " ".join(known)


def launches_look_alike() -> bool:
    """Whether the next launch may have the same identity.

    Plain torchrun on several nodes has, if it gets the same `--rdzv-id`, or none.
    """
    world = found_world()
    return world is not None and world.launcher == "torchrun" and world.nodes > 1


def cluster_environment() -> ClusterEnvironment:
    """How Lightning learns of the ranks: from their launcher alone, wherever that ran."""
    world = found_world()
    if world is None:
        return LightningEnvironment()
    if world.launcher == "srun":
        # Its way to requeue a job writes from within a signal handler, by pickle.
        return SLURMEnvironment(auto_requeue=False)
    # submitit's tasks have torchrun's variables. Lightning's own environment would take
    # WORLD_SIZE away at the end of the first stage.
    return TorchElasticEnvironment()


def join_ranks(settings: TrainerSettings) -> None:
    """Have the ranks of this launch know each other, which Lightning would do at its first stage.

    What is on disk is asked for before: over a network, not every node sees the same at once.
    """
    if settings.world == 1 or torch.distributed.is_initialized():
        return
    environment = cluster_environment()
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)
    device = None
    if settings.accelerator == "gpu":
        device = torch.device("cuda", environment.local_rank())
        torch.cuda.set_device(device)
    atexit.register(_leave_ranks)
    torch.distributed.init_process_group(
        backend_of(settings),
        timeout=default_pg_timeout,
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        device_id=device,
    )


def _leave_ranks() -> None:
    """End the group while Python still runs.

    NCCL warns of a group that is left. Gloo's threads may still hold what the last collective was
    given, and abort the process if they let go of it once the interpreter is being taken down
    (pytorch issue 190489); they end with the last reference to the group.
    """
    gc.collect()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def backend_of(settings: TrainerSettings) -> str:
    """By what ranks talk."""
    return "nccl" if settings.accelerator == "gpu" else "gloo"


def check_world(settings: TrainerSettings) -> None:
    """Compare the ranks and GPUs found with those asked for; ConfigurationError with the fix."""
    world = found_world()
    if world is None:
        if settings.num_nodes > 1:
            raise ConfigurationError(
                f"trainer.num_nodes={settings.num_nodes} needs a launcher on every node",
                fix=f"start this command by {_command('srun', settings)}, by "
                f"{_command('torchrun', settings)} on each node, or as a sweep with "
                f"{_command('submitit', settings)}",
            )
    elif (world.nodes, world.per_node) != (settings.num_nodes, settings.devices):
        raise ConfigurationError(
            f"{world.launcher} started {_ranks(world.ranks, world.nodes)}; trainer.devices="
            f"{settings.devices} and trainer.num_nodes={settings.num_nodes} ask for "
            f"{_ranks(settings.world, settings.num_nodes)}",
            fix=f"set trainer.devices={world.per_node} trainer.num_nodes={world.nodes}, or start "
            f"it by {_command(world.launcher, settings)}",
        )
    elif world.launcher == "srun" and "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ConfigurationError(
            "the SLURM job does not say how many tasks run on a node",
            fix=f"ask for --nodes={world.nodes} --ntasks-per-node={world.per_node} instead of "
            f"--ntasks={world.ranks}",
        )
    _check_gpus(settings)


def _check_gpus(settings: TrainerSettings) -> None:
    if settings.accelerator != "gpu" or not torch.cuda.is_available():
        return
    seen = torch.cuda.device_count()
    if seen >= settings.devices:
        return
    by_task = launched() and seen == 1
    raise ConfigurationError(
        f"trainer.devices={settings.devices}, but this process sees {seen} GPU(s)"
        + f" (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')})",
        fix=f"ask for --gpus-per-node={settings.devices}, not --gpus-per-task: every rank picks "
        "its own of all GPUs of the node"
        if by_task
        else f"set trainer.devices={max(seen, 1)}, or make more GPUs visible",
    )


def _command(launcher: Launcher, settings: TrainerSettings) -> str:
    nodes, devices = settings.num_nodes, settings.devices
    # How the nodes find each other; a new ID for each launch.
    meeting = " --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 --rdzv-id=ID" if nodes > 1 else ""
    return {
        "srun": f"`srun --nodes={nodes} --ntasks-per-node={devices}`",
        "torchrun": f"`torchrun --nnodes={nodes} --nproc-per-node={devices}{meeting}`",
        "submitit": f"`hydra.launcher.nodes={nodes} hydra.launcher.tasks_per_node={devices}`",
    }[launcher]


def _ranks(ranks: int, nodes: int) -> str:
    return f"{ranks} rank{'s' * (ranks > 1)} on {nodes} node{'s' * (nodes > 1)}"


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError:
        raise ConfigurationError(
            f"the launcher left {name}={text!r} in the environment, where a number belongs",
            fix="start the command by torchrun, srun or submitit, or unset WORLD_SIZE",
        ) from None
