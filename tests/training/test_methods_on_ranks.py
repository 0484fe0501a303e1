"""Claims about methods on several ranks: what each does to a model, it does on two as on one."""

import csv

import pytest
from safetensors.torch import load_file
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import Position

SHORT = (
    "schedule.dense.updates=20",
    "schedule.dense.validate_every=10",
    "schedule.specialise.updates=2",
    "schedule.specialise.validate_every=2",
    "callbacks.log_every=1",
    "model.dropout=0.0",
    "selection.k=60",
)


def losses(folder, stage, key):
    with (folder / stage / "metrics.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file) if row.get(key)]


def moved(folder, stage):
    """How many rows of each masked weight are not as in the dense model."""
    dense, own = (
        load_file(folder / name / "checkpoint" / "model.safetensors") for name in ("dense", stage)
    )
    return {
        name: int((own[name] != weight).any(-1).sum())
        for name, weight in dense.items()
        if name.endswith("feed_forward.fc1.weight")
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("neuron_specialization", ()),
        ("adapter_pair", ()),
        ("update_mask", ()),
        ("frozen_rest", ()),
        ("isolated_updates", ()),
        ("reidentify", ("method.rounds=2",)),
        ("lass", ("method.dropout=0", "schedule.tuning.updates=2")),
    ],
)
@pytest.mark.usefixtures("forked_ranks")
def test_ranks_with_different_directions_take_the_steps_of_one(small_config, method, own):
    """What belongs to a direction that a rank has not read has gradients there all the same."""
    words = (*SHORT, *own, f"method={method}", "batch.homogeneous=true")
    one, two = small_config(*words, "name=alone"), small_config(*words, "trainer=ddp_sim")
    corpus = prepared_corpus(one)
    plan = TranslationData(corpus, batch=one.batch, temperature=1.0, seed=one.seed + 1).plan()
    batches = next(plan.updates(Position())).batches
    first, second = (
        {row for batch in batches[rank::2] for row in batch.direction.tolist()} for rank in (0, 1)
    )
    assert not first & second
    for config in (one, two):
        assert method in train_stages(config)
    for key in ("train/nll", "valid/nll"):
        expected = losses(one.folder, method, key)
        assert losses(two.folder, method, key) == pytest.approx(expected, rel=1e-4)
    assert moved(two.folder, method) == moved(one.folder, method)
