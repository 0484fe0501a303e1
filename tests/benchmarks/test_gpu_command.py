"""The one command of a GPU's figures, rehearsed on a CPU where Hydra and others are missing."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nsmt.commands.bench import BenchConfig
from nsmt.commands.compose import composed

ROOT = Path(__file__).parents[2]
MISSING = ("hydra", "omegaconf", "antlr4", "wandb", "ctranslate2", "sacremoses", "py3langid")
WITHOUT = """
import importlib.util, runpy, sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
# Who only asks whether they are there is told that they are not.
find_spec = importlib.util.find_spec
def find_there(name, package=None):
    return None if name.partition(".")[0] in {missing} else find_spec(name, package)
importlib.util.find_spec = find_there
sys.argv = {words}
"""


def rehearsed(*words, of='runpy.run_path("benchmarks/gpu.py", run_name="__main__")'):
    code = WITHOUT.format(missing=MISSING, words=["gpu.py", "--rehearse", *words]) + of
    # Hydra brings a plugin of pytest's.
    bare = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=bare
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "figures"),
    [
        ("tests", ["passed", "skipped"]),
        (
            "train-30720",
            ["masked_over_dense_seconds", "run_over_masked_seconds", "bf16_loss_over_fp32"],
        ),
        ("identify", ["identify_over_forward"]),
        ("decode", ["ours_tokens_per_second"]),
    ],
)
def test_a_part_measures_and_keeps_its_record_without_hydra(tmp_path, part, figures):
    done = rehearsed("--here", "--into", str(tmp_path), part)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / f"gpu-{part}.json").read_text())
    assert record["figures"].keys() >= set(figures)
    assert record["config"]["directions"] == 60
    assert record["data_fingerprint"]


@pytest.mark.slow
def test_the_tests_that_need_a_gpu_run_without_hydra():
    words = ["-m", "gpu", "-q", "-rA", "-p", "no:cacheprovider"]
    words += [f"tests/{name}" for name in ("models/test_gpu.py", "training/test_divergence.py")]
    done = rehearsed(of=f"import pytest; sys.exit(pytest.main({words}))")
    assert done.returncode == 0, done.stdout
    assert ("PASSED" if torch.cuda.is_available() else "torch sees no CUDA device") in done.stdout


@pytest.mark.slow
def test_a_part_that_there_is_not_is_named(tmp_path):
    done = rehearsed("trian-30720")
    assert done.returncode
    assert "trian-30720" in done.stderr


def test_its_models_and_trainer_are_those_of_the_configuration():
    gpu = SimpleNamespace(**runpy.run_path(str(ROOT / "benchmarks" / "gpu.py")))
    for name, found in (("mt_big", gpu.MT_BIG), ("mt_small", gpu.MT_SMALL)):
        # But for what the peer wants: tied embeddings, and its layer norms.
        words = [f"model={name}", "model.share_embeddings=all", "model.norm=pre", "trainer=gpu"]
        config = composed("bench", words, BenchConfig)
        assert found == config.model
        assert config.trainer == gpu.GPU
