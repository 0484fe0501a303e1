"""What stages are made to do in their midst."""

import pytest

from nsmt.training.module import TranslationModule


@pytest.fixture
def at_update(monkeypatch):
    """Do something in the forward pass of an update, the first time it comes.

    It gives the first update of each start: a stage that forgot its states and began again would
    end with the same weights.
    """
    real = TranslationModule.training_step

    def arrange(deeds):
        left, firsts, started = dict(deeds), [], []

        def step(module, batch, batch_idx):
            if module not in started:
                started.append(module)
                firsts.append(module.trainer.global_step + 1)
            deed = left.pop(module.trainer.global_step + 1, None)
            if deed is not None:
                deed()
            return real(module, batch, batch_idx)

        monkeypatch.setattr(TranslationModule, "training_step", step)
        return firsts

    return arrange
