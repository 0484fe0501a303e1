"""Judging updates on the device, and hearing of them later."""

import csv
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from nsmt.data.plan import Position
from nsmt.training import divergence
from nsmt.training.divergence import judged
from nsmt.training.settings import DivergenceSettings

SETTINGS = DivergenceSettings(explosion=8.0, spike=3.0)
norms = st.one_of(
    st.floats(0.5, 2), st.floats(0, 100), st.sampled_from([math.inf, math.nan, 0.0, 9.0])
)


def by_hand(norms):
    """The verdicts in plain arithmetic, and what was usual before each."""
    seen, mean = 0, 0.0
    for norm in norms:
        if not math.isfinite(norm):
            why = "not finite"
        elif seen < 20:
            why = None
        elif norm > SETTINGS.explosion * mean:
            why = "explosion"
        else:
            why = "spike" if norm > SETTINGS.spike * mean else None
        yield why, mean
        if why in (None, "spike"):
            seen += 1
            mean += max(1 / seen, 1 - 0.99) * (norm - mean)


@settings(max_examples=60, deadline=None)
@given(st.lists(norms, min_size=20, max_size=80))
def test_updates_are_judged_on_the_device_as_by_hand(values):
    usual = torch.zeros(2, dtype=torch.float64)
    for norm, (why, mean) in zip(values, by_hand(values), strict=True):
        found, usual = judged(torch.tensor(norm, dtype=torch.float64), usual, SETTINGS)
        assert divergence._VERDICTS[int(found[2])] == why
        assert found[1].item() == mean


@pytest.mark.parametrize("bad", [{7}, {20}, {7, 8, 9, 10, 11}])
def test_a_host_that_hears_of_updates_later_ends_with_the_same(
    small_config, tmp_path, monkeypatch, bad
):
    from killed_stages import poison
    from small_run import train_stages

    poison(monkeypatch, bad)
    words = ("schedule=dense", "schedule.dense.updates=20", "schedule.dense.validate_every=10")
    words += ("states.every=3", "callbacks.log_every=4")
    found = []
    for late in (False, True):
        monkeypatch.setattr(divergence, "_waits_for_nobody", lambda _, late=late: late)
        config = small_config(*words, f"paths.runs={tmp_path}/{late}")
        train_stages(config)
        stage = config.folder / "dense"
        with (stage / "metrics.csv").open() as file:
            keys = ("step", "train/skipped", "train/nll")
            rows = [[row[key] for key in keys] for row in csv.DictReader(file)]
        unusual = (stage / "unusual.jsonl").read_text()
        found.append((load_file(stage / "checkpoint" / "model.safetensors"), rows, unusual))
    (weights, *told), (others, *heard) = found
    assert told == heard
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_judging_makes_nobody_wait_for_a_gpu():
    weight = torch.nn.Parameter(torch.randn(64, 64, device="cuda"))
    optimizer = torch.optim.AdamW([weight], fused=True)
    usual = torch.zeros(2, dtype=torch.float64, device="cuda")
    weight.grad = torch.ones_like(weight)
    # Moments and what else is made at the first step.
    optimizer.step()
    verdicts, weights = [], [weight.detach().clone()]
    for factor in (1.0, math.nan):
        weight.grad.fill_(factor)
        torch.cuda.set_sync_debug_mode("error")
        try:
            found, usual = judged(divergence.gradient_norm(optimizer), usual, SETTINGS)
            optimizer.found_inf = (found[2] >= 2).float()
            verdicts.append(divergence._Verdict.sent(found, update=1, position=Position()))
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        weights.append(weight.detach().clone())
    assert [each.read()[2] for each in verdicts] == [None, "not finite"]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
