"""What is submitted to SLURM, and what is refused before anything is."""

import stat

import pytest
from omegaconf import OmegaConf
from small_run import SMALL

from nsmt.cli import main
from nsmt.commands.compose import checked_overrides
from nsmt.commands.config import RunConfig
from nsmt.commands.hydra_session import hydra_session
from nsmt.commands.preflight import check_launcher
from nsmt.commands.sweep_job import SweepJob, rank_environment
from nsmt.commands.sweeps import LostJob, Sweep
from nsmt.errors import ConfigurationError

pytest.importorskip("submitit")


def shared(*words):
    with hydra_session("train") as session:
        return session.preview(words, sweep=True)


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """The text of the file that sbatch would get, without a SLURM."""
    (tmp_path / "srun").write_text("#!/bin/sh\n")
    (tmp_path / "srun").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def text(*words):
        config = shared("hydra/launcher=submitit_slurm", f"hydra.sweep.dir={tmp_path}/s", *words)
        from hydra.core.plugins import Plugins

        launcher = Plugins.instance()._instantiate(config.hydra.launcher)
        executor = launcher.executor()._executor
        return executor._make_submission_file_text(executor._submitit_command_str, "uid")

    return text


def test_the_sbatch_file_asks_for_what_was_configured(sbatch, tmp_path):
    lines = sbatch(
        "trainer=ddp",
        "trainer.num_nodes=2",
        "hydra.launcher.nodes=2",
        "hydra.launcher.tasks_per_node=4",
        "hydra.launcher.gpus_per_node=4",
        "hydra.launcher.cpus_per_task=8",
        "hydra.launcher.partition=gpu",
        "hydra.launcher.timeout_min=90",
        "hydra.launcher.name=nsmt",
        "+hydra.launcher.additional_parameters.requeue=true",
    ).splitlines()
    for line in (
        "#SBATCH --nodes=2",
        "#SBATCH --ntasks-per-node=4",
        "#SBATCH --gpus-per-node=4",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=90",
        "#SBATCH --job-name=nsmt",
        "#SBATCH --requeue",
        "#SBATCH --open-mode=append",
        "#SBATCH --signal=USR2@120",
    ):
        assert line in lines
    (command,) = (line for line in lines if line.startswith("srun "))
    assert "--kill-on-bad-exit=1" in command
    assert "submitit.core._submit" in command
    # Ranks are told by the scheduler's tasks, and none parses the sweep again.
    assert "train.py" not in command
    assert "--multirun" not in command
    assert str(tmp_path / "s" / ".submitit") in command


def test_a_launcher_preset_for_slurm_is_complete(sbatch):
    lines = sbatch("launcher=slurm_gpus", "trainer=ddp").splitlines()
    assert "#SBATCH --gpus-per-node=4" in lines
    assert "#SBATCH --nodes=1" in lines
    check_launcher(shared("launcher=slurm_gpus", "trainer=ddp", "trainer.devices=2"))
    check_launcher(shared("launcher=slurm_nodes", "trainer=ddp", "trainer.num_nodes=3"))


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["trainer=ddp_sim", "hydra.launcher.nodes=2"], "hydra.launcher.nodes=1"),
        (["trainer=ddp_sim", "hydra.launcher.tasks_per_node=3"], "hydra.launcher.tasks_per_node=2"),
        (["trainer=ddp_sim", "trainer.num_nodes=2"], "hydra.launcher.nodes=2"),
        (["trainer=ddp"], "hydra.launcher.gpus_per_node=4"),
        (["hydra.launcher.gpus_per_node=1"], "choose launcher=slurm_cpu"),
    ],
)
def test_tasks_that_do_not_fit_the_trainer_are_refused_before_they_wait(words, fix):
    for launcher in ("submitit_slurm", "submitit_local"):
        with pytest.raises(ConfigurationError) as told:
            check_launcher(shared(f"hydra/launcher={launcher}", *words))
        assert fix in told.value.fix


def test_a_sweep_without_slurm_is_refused_before_it_has_a_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    runs = tmp_path / "runs"
    with pytest.raises(SystemExit):
        main(["train", "-m", "launcher=slurm_cpu", f"paths.runs={runs}", "seed=1,2"])
    assert "there is no srun here" in capsys.readouterr().err
    assert not runs.exists()


def test_tasks_as_ranks_or_one_that_starts_them_both_fit():
    for tasks in (1, 2):
        words = ["trainer=ddp_sim", f"hydra.launcher.tasks_per_node={tasks}"]
        check_launcher(shared("hydra/launcher=submitit_local", *words))


@pytest.mark.parametrize(
    "choice", ["hydra/launcher=joblib", "hydra/launcher=submitit_slurm", "hydra/sweeper=search"]
)
def test_an_extra_that_is_not_installed_is_named(choice, monkeypatch, capsys):
    monkeypatch.setattr("nsmt.commands.preflight.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(["train", "-m", choice, "seed=1,2"])
    assert 'pip install "nsmt[sweep]"' in capsys.readouterr().err


def test_tasks_of_submitit_become_ranks(monkeypatch):
    assert rank_environment() == {}
    environment = {
        "SUBMITIT_EXECUTOR": "local",
        "SUBMITIT_LOCAL_JOB_ID": "7",
        "SUBMITIT_LOCAL_NTASKS": "2",
        "SUBMITIT_LOCAL_JOB_NUM_NODES": "1",
        "SUBMITIT_LOCAL_GLOBALID": "1",
        "SUBMITIT_LOCAL_LOCALID": "1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = rank_environment()
    assert {name: found[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")} == {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "GROUP_RANK": "0",
    }
    monkeypatch.setenv("SUBMITIT_LOCAL_NTASKS", "1")
    assert rank_environment() == {}


def test_a_job_that_the_cluster_took_back_is_told_and_no_traceback(tmp_path):
    from submitit.core.utils import UncompletedJobError

    from hydra_plugins.nsmt_launchers import _outcome

    class Gone:
        def results(self):
            raise UncompletedJobError("Job not requeued because: timed-out too many times.\nmore")

    assert _outcome(3, Gone()).return_value == LostJob(
        3, "Job not requeued because: timed-out too many times."
    )


def test_a_job_is_queued_again_when_it_has_ended(sbatch, monkeypatch):
    from hydra.core.plugins import Plugins

    patience = []
    monkeypatch.setattr(
        "nsmt.commands.supervision.end_running", lambda patience_s: patience.append(patience_s)
    )
    config = shared("hydra/launcher=submitit_slurm")
    launcher = Plugins.instance()._instantiate(config.hydra.launcher)
    again = launcher.checkpoint(["seed=1"], "hydra.sweep.dir", 0, "0", {})
    assert again.function is launcher
    # Of two minutes.
    assert patience == [100.0]


@pytest.mark.slow
def test_a_job_runs_by_the_debug_executor(tmp_path, corpora):
    """submitit's own machinery in this process: what is sent can be sent, and comes back."""
    import submitit
    from hydra.core.hydra_config import HydraConfig

    words = [*SMALL, "schedule=dense", "schedule.dense.updates=2", f"paths.runs={tmp_path}/runs"]
    words += [f"paths.corpora={corpora}"]
    with hydra_session("train") as session:
        words = checked_overrides("train", words, RunConfig)
        config = session.preview([*words, "hydra.job.num=0"], sweep=False)
        HydraConfig.instance().set_config(config)
        config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        executor = submitit.AutoExecutor(tmp_path / "logs", cluster="debug")
        sweep = tmp_path / "runs" / "sweeps" / "one"
        job = executor.submit(SweepJob("train", str(sweep), "submitit_debug"), config).result()
    assert job.state == "finished"
    assert Sweep(sweep).jobs() == [job]
