"""Claims about `nsmt identify` of a translation model."""

from dataclasses import replace

import pytest
import torch

from nsmt.commands import identify as module
from nsmt.commands.compose import composed
from nsmt.commands.identify import IdentifyConfig, identify
from nsmt.errors import CheckpointError
from nsmt.models.checkpoint import load_checkpoint, save_checkpoint
from nsmt.models.weight_masks import WeightMasks, maskable_weights


def configured(checkpoint, corpus, output, *more):
    words = [f"checkpoint={checkpoint}", f"corpus={corpus}", f"output={output}", *more]
    return composed("identify", words, IdentifyConfig)


@pytest.fixture
def as_before():
    """What a command sets for the whole process is put back."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(before[0])
    torch.set_float32_matmul_precision(before[1])


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(("tf32", "precision"), [("true", "high"), ("false", "highest")])
def test_threads_and_precision_are_those_of_the_trainer(
    finished_run, run_corpus, tmp_path, monkeypatch, tf32, precision
):
    found = []

    def gather(*_, **__):
        found.append((torch.get_num_threads(), torch.get_float32_matmul_precision()))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "gather_statistics", gather)
    words = ("trainer.threads=3", f"trainer.tf32={tf32}")
    checkpoint = finished_run / "dense" / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        identify(configured(checkpoint, run_corpus, tmp_path / "found", *words))
    assert found == [(3, precision)]


def test_a_checkpoint_with_weights_of_each_direction_is_refused(finished_run, run_corpus, tmp_path):
    trained = load_checkpoint(finished_run / "dense" / "checkpoint")
    weights = maskable_weights(trained.model)
    masks = {name: torch.ones(weight.shape, dtype=torch.bool) for name, weight in weights.items()}
    of_each = WeightMasks.from_masks((str(each), masks) for each in trained.directions)
    save_checkpoint(tmp_path / "lass", replace(trained, weight_masks=of_each))
    with pytest.raises(
        CheckpointError, match="it is a model of its own for each direction"
    ) as told:
        identify(configured(tmp_path / "lass", run_corpus, tmp_path / "found"))
    assert "load_system" not in str(told.value)
    assert not (tmp_path / "found").exists()
