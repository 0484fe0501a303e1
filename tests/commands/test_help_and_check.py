"""What a command says of itself, and configurations that are validated without being run."""

import subprocess
import sys

import pytest

from nsmt.cli import main
from nsmt.commands.registry import COMMANDS


@pytest.fixture
def said(capsys):
    """Run a command; what it wrote to standard output."""

    def run(*words: str) -> str:
        main(words)
        out: str = capsys.readouterr().out
        return out

    return run


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_summary_and_keys(said, command):
    text = said(*command.split(), "--help")
    assert text.startswith(
        f"usage: nsmt {command} [key=value …]\n       {COMMANDS[command].summary}"
    )
    assert "\nkeys, with their values here:\n  " in text


def test_help_tells_groups_choices_and_what_a_key_is(said):
    text = said("train", "--help", "model=mt_small", "data.temperature=5")
    assert "\n  model=mt_small  (mt_base, mt_big, tiny)\n" in text
    assert "p ~ n^(1/T)" in next(line for line in text.splitlines() if "data.temperature=5" in line)
    # No file mentions it.
    assert "\n  selection.count_padding=false " in text
    for other in ("scale=", "language_model=", "hydra/"):
        assert f"\n  {other}" not in text


def test_help_shows_missing_values_and_wrong_ones_as_they_are(said):
    assert "\n  checkpoint=??? " in said("identify", "--help")
    assert "\n  selection.k=900 " in said("train", "--help", "selection.k=900")


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "run=runs/none"),
        ("data stats", "corpus=corpora/none"),
        ("identify", "checkpoint=none", "corpus=none"),
        ("bench", "what=train"),
    ],
)
def test_a_check_of_any_command_opens_nothing(said, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = said(*words[0].split(), "--check", *words[1:])
    assert text == f"{words[0]}: the configuration is valid; what it names was not opened\n"
    assert list(tmp_path.iterdir()) == []


def test_a_check_of_prepare_is_that_of_train(said, tmp_path):
    words = ("data=synthetic", f"paths.corpora={tmp_path}/corpora", f"paths.runs={tmp_path}/runs")
    assert said("prepare", "--check", *words) == said("train", "--check", *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "launcher", ["launcher=local", "launcher=slurm_gpus", "hydra/launcher=basic"]
)
def test_a_check_of_a_sweep_checks_every_job_here(said, tmp_path, launcher):
    words = ("data=synthetic", f"paths.runs={tmp_path}/runs", "trainer=gpu")
    text = said("train", "-m", "--check", *words, launcher, "seed=1,2,3")
    folders = [line.split()[1] for line in text.splitlines() if line.startswith("run ")]
    assert len(set(folders)) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_check_of_a_sweep_finds_the_job_that_is_wrong(tmp_path, capsys):
    words = ("data=synthetic", f"paths.runs={tmp_path}/runs", "selection.k=80,900")
    with pytest.raises(SystemExit):
        main(["train", "-m", "--check", *words])
    assert "selection.k=900" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_check_tells_the_peak_rates_that_stages_have(said):
    rates = ("optimizer.learning_rate=0.003", "schedule.specialise.learning_rate=1e-4")
    text = said("train", "--check", "data=synthetic", *rates)
    assert "5,000 updates, peak rates 0.003, 0.0001\n" in text


def test_a_check_of_a_search_begins_none(said, tmp_path):
    pytest.importorskip("optuna")
    words = ("data=synthetic", f"paths.runs={tmp_path}/runs", "hparams_search=learning_rate")
    assert "schedule    two_stage" in said("train", "--check", *words)
    swept = ("hydra/sweeper=search", "optimizer.learning_rate=tag(log,interval(1e-4,1e-2))")
    assert "schedule    two_stage" in said("train", "-m", "--check", *words[:2], *swept, "seed=1,2")
    assert list(tmp_path.iterdir()) == []


def test_help_and_the_scripts_that_workers_import_load_nothing_that_trains():
    seen = "import sys, nsmt.cli; nsmt.cli.main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", seen], check=True, stdout=subprocess.DEVNULL)
