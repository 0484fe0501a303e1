"""The scripts of docs/slurm ask for what their commands train with."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from nsmt.commands.compose import composed
from nsmt.commands.config import RunConfig
from nsmt.commands.train import check_consistency
from nsmt.errors import PreemptionError

SCRIPTS = sorted((Path(__file__).parents[1] / "docs" / "slurm").iterdir())
ASKED = (
    *("--time", "--cpus-per-task", "--gpus-per-node", "--requeue"),
    *("--signal=USR1@120", "--open-mode=append"),
)


def command(script):
    """The words of the line that trains."""
    text = script.read_text().replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if "train.py" in line and line[0] != "#")
    return shlex.split(line)


def asked(script):
    """The options for SLURM, by name."""
    lines = re.findall(r"^#SBATCH (--[^\s=]+)=?(.*)$", script.read_text(), re.MULTILINE)
    return dict(lines)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_an_example_is_a_script_whose_command_composes(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    words = command(script)
    config = composed("train", words[words.index("train.py") + 1 :], RunConfig)
    check_consistency(config)
    given = asked(script) | dict(word.split("=") for word in words if word.startswith("--n"))
    nodes = given.get("--nodes") or given["--nnodes"]
    ranks = given.get("--ntasks-per-node") or given.get("--nproc-per-node")
    assert int(nodes) == config.trainer.num_nodes
    # One task starts the ranks of a node by itself.
    assert ranks is None or int(ranks) == config.trainer.devices
    assert int(given.get("--gpus-per-node", "4")) == config.trainer.devices


@pytest.mark.parametrize(
    "script", [s for s in SCRIPTS if s.suffix == ".sbatch"], ids=lambda script: script.name
)
def test_a_job_is_told_ahead_of_its_limit_and_queued_again(script):
    text = script.read_text()
    assert all(f"#SBATCH {option}" in text for option in ASKED)
    assert (
        f'if [ $status -eq {PreemptionError.status} ]; then scontrol requeue "$SLURM_JOB_ID"'
        in text
    )
