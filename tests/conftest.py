"""What tests of whole runs share: a small synthetic configuration, and one finished run.

Commands are imported where they are used: tests on a GPU run where Hydra is missing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

if TYPE_CHECKING:
    from nsmt.commands.config import RunConfig

# Processes that tests start would have a thread a core each, and wait for one another: two of them
# at once took 1.6 times as long. And what they compute is compared to the bit.
os.environ["OMP_NUM_THREADS"] = "1"
# Before any library of the hub is imported: nothing here waits for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    """What a test draws does not depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """One folder of prepared corpora for all tests."""
    return tmp_path_factory.mktemp("corpora")


@pytest.fixture
def small_config(tmp_path, corpora):
    """Compose a small run with further overrides; its run folder is the test's own."""
    from small_run import SMALL

    from nsmt.commands.compose import composed
    from nsmt.commands.config import RunConfig

    def compose(*overrides: str, without: tuple[str, ...] = ("none",)) -> RunConfig:
        small = [word for word in SMALL if not word.startswith(without)]
        paths = (f"paths.runs={tmp_path}/runs", f"paths.corpora={corpora}")
        return composed("train", [*small, *paths, *overrides], RunConfig)

    return compose


@pytest.fixture
def forked_ranks(monkeypatch):
    """What this process trains on several ranks has them at once, without torchrun."""
    from forked_ranks import run_ranks

    monkeypatch.setattr("nsmt.commands.launch.run_ranks", run_ranks)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, corpora) -> Path:
    """The folder of a small two-stage run that came to its end. Do not write into it."""
    from small_run import SMALL

    from nsmt.commands.compose import composed
    from nsmt.commands.config import RunConfig
    from nsmt.commands.train import train

    place = tmp_path_factory.mktemp("finished")
    overrides = [*SMALL, f"paths.runs={place}/runs", f"paths.corpora={corpora}"]
    config = composed("train", overrides, RunConfig)
    assert train(config) == config.folder / "report" / "report.html"
    return config.folder


@pytest.fixture(scope="session")
def run_corpus(finished_run) -> Path:
    """The folder of the corpus that the finished run was trained on."""
    from nsmt.commands.config import recorded_config
    from nsmt.data.prepare import folder_name
    from nsmt.data.sources import make_source
    from nsmt.records import read_record

    config = recorded_config(finished_run, read_record(finished_run))
    return Path(config.paths.corpora) / folder_name(config.data, make_source(config.data))


@pytest.fixture
def run_copy(finished_run, tmp_path) -> Path:
    """A copy of the finished run that a test may spoil."""
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / finished_run.name))
