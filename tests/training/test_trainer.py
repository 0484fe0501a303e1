"""What is taken from Lightning's Trainer, and noticed if it is not there any more."""

import pytest
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from nsmt.training.settings import TrainerSettings
from nsmt.training.trainer import make_trainer


def test_lightning_handles_no_signals(tmp_path):
    trainer = make_trainer(TrainerSettings(), folder=tmp_path)
    assert trainer._signal_connector.register_signal_handlers() is None
    assert trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor() is None


@pytest.mark.parametrize(
    ("part", "method"),
    [
        (_SignalConnector, "register_signal_handlers"),
        (_TrainingEpochLoop, "_broadcast_sigterm_tensor"),
    ],
)
def test_a_lightning_whose_methods_have_other_names_is_noticed(tmp_path, monkeypatch, part, method):
    """Else its handlers would be there, beside ours."""
    monkeypatch.delattr(part, method)
    with pytest.raises(AssertionError, match=method):
        make_trainer(TrainerSettings(), folder=tmp_path)
