"""Claims about stages that train adapters: the base stays, states are small, ranks agree."""

import os
import socket
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing
from safetensors.torch import load_file
from small_run import train_stages
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from nsmt.commands import launch
from nsmt.data.batch import SequenceFormat
from nsmt.languages import Direction
from nsmt.methods.adapters import pair_groups
from nsmt.models.adapters import Adapters, AdapterSettings, with_adapters
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.training import callbacks
from nsmt.training.module import TranslationModule
from nsmt.training.sharding import shard, whole
from nsmt.training.signals import StopSignal
from nsmt.training.stages import Stage, train_stage

NAME = "adapter_pair"
STAGE = ("states.every=3", "schedule.specialise.updates=12", "schedule.specialise.validate_every=4")
DIRECTIONS = [Direction.parse(name) for name in ("en-de", "de-en", "en-fr")]
SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5, "fr": 6})


@pytest.fixture
def train_adapters(small_config, finished_run, monkeypatch):
    """Train a stage of adapters on the dense model of the finished run: the model, its folder."""

    def train(*words):
        config, contexts = small_config(*STAGE, *words), []
        monkeypatch.setattr(launch, "run_schedule", lambda context, *_: contexts.append(context))
        train_stages(config)
        dense = finished_run / "dense" / "checkpoint"
        directions = contexts[0].corpus.directions

        def start():
            groups = pair_groups(directions)
            return with_adapters(load_checkpoint(dense), groups, AdapterSettings(bottleneck=6))

        trained = train_stage(
            replace(contexts[0], stop=StopSignal()),
            Stage(
                NAME,
                config.schedule.specialise,
                start=start,
                seed=5,
                parent=load_checkpoint(dense).fingerprint,
            ),
        )
        return trained, config.folder / NAME

    return train


@pytest.mark.parametrize("keep", ["last", "best", "average", "ema"])
def test_a_stage_of_adapters_leaves_every_bit_of_the_base(train_adapters, finished_run, keep):
    trained, folder = train_adapters(f"callbacks.keep={keep}", "callbacks.average=2")
    base = load_file(finished_run / "dense" / "checkpoint" / "model.safetensors")
    found = load_file(folder / "checkpoint" / "model.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in base.items())
    assert found.keys() - base.keys() == {
        f"adapters.{name}" for name, _ in trained.model.adapters.named_parameters()
    }
    assert all(layer.up.any() for layer in trained.model.adapters.encoder)


def test_the_throughput_of_a_stage_counts_its_adapters(train_adapters, monkeypatch):
    told, real = [], callbacks.throughput

    def throughput(model, **named):
        told.append(named["bottleneck"])
        return real(model, **named)

    monkeypatch.setattr(callbacks, "throughput", throughput)
    train_adapters("callbacks.log_every=6")
    assert told == [6, 6]


def test_a_stage_of_adapters_goes_on_bitwise_and_keeps_moments_of_adapters_alone(
    train_adapters, monkeypatch
):
    whole_stage, _ = train_adapters("name=alone")
    real = TranslationModule.training_step

    def killed(module, batch, batch_idx):
        if module.trainer.global_step + 1 == 9:
            raise KeyError("killed")
        return real(module, batch, batch_idx)

    monkeypatch.setattr(TranslationModule, "training_step", killed)
    with pytest.raises(KeyError):
        train_adapters("name=killed")
    monkeypatch.setattr(TranslationModule, "training_step", real)
    kept = []
    configure = TranslationModule.configure_optimizers

    def seen(module):
        made = configure(module)
        kept.append((module.model, made["optimizer"]))
        return made

    monkeypatch.setattr(TranslationModule, "configure_optimizers", seen)
    resumed, _ = train_adapters("name=killed")
    expected = whole_stage.model.state_dict()
    for name, tensor in resumed.model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    (model, optimizer), *_ = kept
    with_moments = {id(parameter) for parameter in optimizer.state}
    assert with_moments == {id(parameter) for parameter in model.adapters.parameters()}


def model_with_adapters():
    torch.manual_seed(0)
    shape = ModelSettings(
        encoder_layers=1, decoder_layers=2, d_model=8, d_ff=12, heads=2, dropout=0.0
    )
    model = Transformer(shape, vocabulary_size=23, pad=0)
    model.requires_grad_(False)
    groups = pair_groups(DIRECTIONS)
    model.adapters = Adapters(shape, AdapterSettings(bottleneck=3), groups)
    with torch.no_grad():
        for parameter in model.adapters.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def batch_of(row):
    pieces = [torch.arange(7 + row, 11 + row).numpy(), torch.tensor([9, 8 + row]).numpy()]
    return SEQUENCES.collate(pieces, pieces[::-1], [DIRECTIONS[row]] * 2, rows=[row] * 2)


def loss_of(hidden_BTD):
    # Not its square, which the last norm makes the same for all.
    return (hidden_BTD * torch.arange(8)).tanh().mean()


def train_a_little(model, wrapped, rows):
    """Steps of which each has one direction alone; each rank is given other ones."""
    optimizer = torch.optim.Adam(model.adapters.parameters(), lr=0.05)
    for row in rows:
        batch = batch_of(row)
        optimizer.zero_grad()
        loss_of(wrapped(batch, model.adapters.choice(DIRECTIONS)(batch))).backward()
        assert all(each.grad is not None for each in model.adapters.parameters())
        optimizer.step()


def one_rank(rank, strategy, port, place):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    address = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    # Ranks have different groups in every step, and one is in none of them.
    model, rows = model_with_adapters(), [[0, 0, 1], [1, 1, 0]][rank]
    if strategy == "fsdp":
        shard(model, init_device_mesh("cpu", (2,)))
        train_a_little(model, model, rows)
    else:
        train_a_little(model, DistributedDataParallel(model), rows)
    model = whole(model)
    if rank == 0:
        torch.save(model.state_dict(), place)
    distributed.destroy_process_group()


def train_alone(rows):
    """What two ranks compute: the mean of both ranks' gradients."""
    model = model_with_adapters()
    optimizer = torch.optim.Adam(model.adapters.parameters(), lr=0.05)
    for pair in zip(*rows, strict=True):
        optimizer.zero_grad()
        for row in pair:
            batch = batch_of(row)
            hidden = model(batch, model.adapters.choice(DIRECTIONS)(batch))
            (loss_of(hidden) / 2).backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_ranks_with_different_groups_take_the_steps_of_one(tmp_path, strategy):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = tmp_path / "weights.pt"
    torch.multiprocessing.spawn(one_rank, (strategy, port, place), nprocs=2)
    found, expected = torch.load(place, weights_only=True), train_alone([[0, 0, 1], [1, 1, 0]])
    untrained = model_with_adapters().state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-4), name
        if not name.startswith("adapters."):
            assert torch.equal(found[name], untrained[name]), name
        else:
            assert torch.equal(found[name][2], untrained[name][2]), name
            assert not torch.equal(found[name][:2], untrained[name][:2]), name
