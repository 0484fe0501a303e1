"""Who started this process is read from the environment, and compared with what was asked for."""

import os

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from nsmt.errors import ConfigurationError
from nsmt.training import world
from nsmt.training.settings import TrainerSettings

TORCHRUN = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
ALLOCATION = {
    "SLURM_JOB_ID": "77",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "0",
    "SLURM_JOB_NAME": "train",
}
SRUN = ALLOCATION | {
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
}


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SUBMITIT_", "TORCHELASTIC_")) or name in TORCHRUN:
            monkeypatch.delenv(name)


@pytest.fixture
def given(monkeypatch):
    def give(environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return give


def asked(devices, num_nodes=1):
    return TrainerSettings(devices=devices, num_nodes=num_nodes)


def test_alone_is_no_launch():
    assert world.found_world() is None
    assert world.rank() == 0
    assert isinstance(world.cluster_environment(), LightningEnvironment)


def test_torchrun_tells_ranks_and_nodes(given):
    given(TORCHRUN | {"TORCHELASTIC_RUN_ID": "one"})
    assert world.found_world() == world.World("torchrun", 4, 3, 2)
    assert world.found_world().nodes == 2
    world.check_world(asked(2, 2))


def test_srun_tells_ranks_and_nodes(given):
    given(SRUN)
    assert world.found_world() == world.World("srun", 4, 2, 2)
    environment = world.cluster_environment()
    assert isinstance(environment, SLURMEnvironment)
    assert not environment.auto_requeue
    world.check_world(asked(2, 2))


def test_a_batch_script_without_srun_is_one_process(given):
    """Its allocation has many tasks, and all of them would take themselves for rank 0."""
    given(ALLOCATION)
    assert not world.launched()
    assert isinstance(world.cluster_environment(), LightningEnvironment)
    world.check_world(asked(4))
    with pytest.raises(ConfigurationError, match="launcher on every node") as refused:
        world.check_world(asked(2, 2))
    assert "srun --nodes=2 --ntasks-per-node=2" in refused.value.fix
    # Without these, every node would make a world of its own.
    assert (
        "torchrun --nnodes=2 --nproc-per-node=2 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
        "--rdzv-id=ID" in refused.value.fix
    )


def test_torchrun_inside_of_a_slurm_job_is_torchrun(given):
    """Lightning's SLURM environment would make every rank of a node the same one."""
    given(SRUN | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"} | TORCHRUN)
    assert world.found_world().launcher == "torchrun"
    environment = world.cluster_environment()
    assert isinstance(environment, TorchElasticEnvironment)
    assert environment.global_rank() == 3


def test_tasks_of_submitit_are_ranks_through_all_stages(given):
    given(TORCHRUN | {"SUBMITIT_EXECUTOR": "local"})
    assert world.found_world().launcher == "submitit"
    world.cluster_environment().teardown()
    assert world.rank() == 3


@pytest.mark.parametrize(
    ("environment", "fix"),
    [
        (TORCHRUN, "torchrun --nnodes=1 --nproc-per-node=8"),
        (SRUN, "srun --nodes=1 --ntasks-per-node=8"),
        (TORCHRUN | {"SUBMITIT_EXECUTOR": "slurm"}, "hydra.launcher.tasks_per_node=8"),
    ],
)
def test_other_ranks_than_asked_for_are_refused_with_both_ways_out(given, environment, fix):
    given(environment)
    with pytest.raises(ConfigurationError, match=r"4 ranks on 2 nodes.*8 ranks on 1 node") as told:
        world.check_world(asked(8))
    assert "trainer.devices=2 trainer.num_nodes=2" in told.value.fix
    assert fix in told.value.fix


def test_the_same_number_of_ranks_on_other_nodes_is_refused(given):
    given(TORCHRUN)
    with pytest.raises(ConfigurationError, match="on 2 nodes"):
        world.check_world(asked(4, 1))


def test_tasks_without_a_number_a_node_are_refused_before_lightning_does(given, monkeypatch):
    given(SRUN)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(ConfigurationError, match="how many tasks") as told:
        world.check_world(asked(2, 2))
    assert "--ntasks-per-node=2" in told.value.fix


def test_a_world_without_a_rank_is_named(given):
    given({"WORLD_SIZE": "2"})
    with pytest.raises(ConfigurationError, match="RANK=None"):
        world.rank()


def test_fewer_gpus_than_asked_for_are_named(given, monkeypatch):
    monkeypatch.setattr(world.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(world.torch.cuda, "device_count", lambda: 1)
    gpus = TrainerSettings(accelerator="gpu", devices=2)
    with pytest.raises(ConfigurationError, match="sees 1 GPU"):
        world.check_world(gpus)
    given({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_WORLD_SIZE": "2"})
    with pytest.raises(ConfigurationError) as told:
        world.check_world(gpus)
    assert "--gpus-per-node=2, not --gpus-per-task" in told.value.fix
