"""Claims about `nsmt identify` of a translation model."""

import pytest
import torch

from nsmt.commands import identify as module
from nsmt.commands.compose import composed
from nsmt.commands.identify import IdentifyConfig, identify


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
