"""The loss after updates in bf16, whatever batches a benchmark is configured with."""

import pytest

from nsmt.benchmarks import precision
from nsmt.commands.launch import prepared_corpus


def test_the_loss_after_bf16_updates_is_compared_on_small_padded_batches(small_config, monkeypatch):
    config = small_config("batch.layout=packed", "batch.tokens=4096")
    seen = []
    real = precision.own_step

    def spied(*given, **named):
        step = real(*given, **named)
        return lambda batch: seen.append(batch) or step(batch)

    monkeypatch.setattr(precision, "own_step", spied)
    found = precision.bf16_loss(prepared_corpus(config), config.model, device="cpu")
    assert found == pytest.approx(1, abs=0.02)
    # Fp32 and bf16.
    assert len(seen) == 2 * 100
    assert all(each.source_spans is None for each in seen)
    assert max(each.target_out_BT.numel() for each in seen) <= 1024
