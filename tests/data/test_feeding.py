"""Batches on their way to the device: shapes, and shares of ranks."""

from types import SimpleNamespace

import pytest

from nsmt.commands.launch import prepared_corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.errors import ConfigurationError


def data_of(config, **changes):
    options = {"batch": config.batch, "temperature": 1.0, "seed": 0}
    return TranslationData(prepared_corpus(config), **(options | changes))


def ranks(world):
    device = SimpleNamespace(type="cpu")
    strategy = SimpleNamespace(root_device=device)
    return SimpleNamespace(global_rank=0, world_size=world, strategy=strategy)


@pytest.mark.parametrize(("accelerator", "round_to"), [("gpu", 8), ("cpu", 1)])
def test_what_is_left_to_the_machine_follows_the_accelerator(accelerator, round_to):
    chosen = BatchSettings().on(accelerator)
    assert chosen.layout == ("packed" if accelerator == "gpu" else "padded")
    assert chosen.round_to == round_to
    assert BatchSettings().on(accelerator, packs=False).layout == "padded"
    asked = BatchSettings(layout="padded", round_to=4)
    assert asked.on(accelerator) == asked


def test_rounded_lengths_make_few_shapes_within_the_limit(small_config):
    config = small_config()
    shapes = {}
    for round_to in (1, 8):
        batch = BatchSettings(tokens=256, layout="padded", round_to=round_to)
        loader = data_of(config, batch=batch).val_dataloader()
        shapes[round_to] = {
            (tuple(b.source_BS.shape), tuple(b.target_out_BT.shape)) for b in loader
        }
    sides = [side for pair in shapes[8] for side in pair]
    assert all(length % 8 == 0 and rows * length <= 256 for rows, length in sides)
    assert len(shapes[8]) < len(shapes[1])


def test_ranks_that_must_validate_alike_are_refused_unequal_shares(small_config):
    config = small_config()
    data = data_of(config, even=True)
    sentences = sum(len(data.corpus.table(each, "valid")) for each in data.directions)
    data.trainer = ranks(2)
    assert len(data.val_dataloader()) > 0
    # More ranks than sentences: even single ones cannot be shared.
    data.trainer = ranks(sentences + 1)
    with pytest.raises(ConfigurationError, match=r"cannot be shared evenly .*strategy=fsdp"):
        data.val_dataloader()
