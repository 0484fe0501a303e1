"""A configuration is data: it names no code, and no secret gets from the environment to disk."""

import io
import json
import logging
import sys

import pytest
from small_run import SMALL

from nsmt.cli import main
from nsmt.commands import sweep_process
from nsmt.commands.compose import composed
from nsmt.commands.report import ReportConfig
from nsmt.commands.safety import secrets, without_secrets
from nsmt.commands.train import train

SECRET = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Run `train --check` with words that have to be refused before anything is done."""

    def run(*words):
        paths = [f"paths.runs={tmp_path}/runs", f"paths.corpora={tmp_path}/corpora"]
        with pytest.raises(SystemExit) as end:
            main(["train", "--check", *SMALL, *paths, *words])
        error = capsys.readouterr().err
        assert end.value.code == 2, error
        assert "Traceback" not in error
        assert "\n  fix: " in error
        assert not list(tmp_path.iterdir())
        return error

    return run


@pytest.mark.parametrize(
    "key",
    [
        "hydra.callbacks.x._target_",
        "hydra.launcher._target_",
        "hydra.sweeper._target_",
        "hydra.job_logging.handlers.console.class",
        "hydra.job_logging.handlers.x.()",
    ],
)
def test_code_is_named_nowhere_in_hydras_own_node(refused, key, tmp_path):
    error = refused(f"+{key}=os.system" if "x." in key else f"{key}=os.system")
    assert f"{key}=os.system" in error or "cannot read the command line" in error


def test_a_logger_imports_nothing(refused):
    key = "hydra.job_logging.handlers.console.stream"
    assert f"{key}=ext://antigravity" in refused(f"{key}=ext://antigravity")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("sign", ["", "+", "++"])
@pytest.mark.parametrize("key", ["model._target_", "_target_", "data.languages.de._target_"])
def test_no_setting_is_a_class(refused, key, sign):
    error = refused(f"{sign}{key}=subprocess.Popen")
    assert key in error


def test_a_target_in_a_composed_file_is_refused_with_key_and_value(refused):
    assert "model.x._target_=os.system" in refused("++model.x={_target_:os.system}")


def test_the_classes_of_the_launchers_are_allowed(capsys, tmp_path):
    words = [*SMALL, f"paths.runs={tmp_path}/runs", f"paths.corpora={tmp_path}/corpora"]
    for launcher in ("basic", "joblib", "submitit_local", "submitit_slurm"):
        main(["train", "--check", *words, f"hydra/launcher={launcher}", "hydra/sweeper=search"])
        assert "parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    "word",
    [
        "name=${oc.env:MY_API_KEY}",
        "logger.project=${oc.env:MY_API_KEY}",
        f"logger.project=x{SECRET}",
        f"hydra.job.env_set={{OTHER_TOKEN:{SECRET}}}",
        "+hydra.job.env_set.OTHER_TOKEN=abc",
        "hydra.job.env_copy=[MY_API_KEY]",
    ],
)
def test_secrets_are_refused_by_name(refused, monkeypatch, word):
    monkeypatch.setenv("MY_API_KEY", SECRET)
    error = refused(word)
    assert "_KEY" in error or "_TOKEN" in error
    assert SECRET not in error.replace(word, "")


def test_paths_from_the_environment_are_no_secrets(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    main(["train", "--check", *SMALL, "paths.runs=${oc.env:SCRATCH}/runs"])
    assert str(tmp_path) in capsys.readouterr().out


def test_flags_of_tokenizers_are_no_secrets(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "whatever it is")
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    assert "TOKENIZERS_PARALLELISM" not in secrets()
    assert without_secrets(f"key {SECRET}") == "key <WANDB_API_KEY>"


def test_the_reason_of_a_failure_is_recorded_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    job = {
        "overrides": [],
        "config": composed("report", ["run=nowhere"], ReportConfig).model_dump(),
    }
    told = tmp_path / "told"
    monkeypatch.setattr("sys.argv", ["sweep_process", "report", str(told)])
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(job)))
    monkeypatch.setattr("sys.orig_argv", [])

    def fail(config):
        raise ValueError(f"the server refused {SECRET}")

    monkeypatch.setattr("nsmt.commands.report.report_run", fail)
    with pytest.raises(ValueError, match=SECRET):
        sweep_process.main()
    assert json.loads(told.read_text())["reason"] == (
        "ValueError: the server refused <WANDB_API_KEY>"
    )


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_secret_of_the_environment(small_config, tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "HF_TOKEN", "MY_PASSWORD"):
        monkeypatch.setenv(name, f"{name[:2].lower()}{SECRET}")
    words = ("logger=wandb", "logger.offline=true", "schedule=dense", "schedule.dense.updates=4")
    config = small_config(*words)
    try:
        train(config)
    finally:
        logging.getLogger("nsmt").handlers.clear()
    files = [path for path in config.folder.rglob("*") if path.is_file()]
    assert any("offline-run" in str(path) for path in files)
    holding = [path for path in files if SECRET.encode() in path.read_bytes()]
    assert holding == []
