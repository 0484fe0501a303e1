"""Claims about training: determinism, ranks, denominators, stages that are done once."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.data.datamodule import TableReader, sequence_format
from nsmt.data.plan import PlannedBatch, TrainingPlan
from nsmt.errors import AtlasError, CheckpointError, TrainingError
from nsmt.models.checkpoint import load_checkpoint, save_checkpoint
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.training import trainer as trainer_module
from nsmt.training.divergence import gradient_norm
from nsmt.training.keeping import KeepBest
from nsmt.training.trainer import chosen_precision

GOLDEN = Path(__file__).parent / "golden" / "synthetic-dense.json"
DENSE = ("schedule=dense", "schedule.dense.updates=20", "schedule.dense.validate_every=10")
EVERY_LOSS = ("callbacks.log_every=1", "model.dropout=0.0")
BRANCH = ("schedule.specialise.updates=2", "schedule.specialise.validate_every=2")


def weights(folder, stage="dense"):
    return load_file(folder / stage / "checkpoint" / "model.safetensors")


def losses(folder, stage="dense", key="train/nll"):
    with (folder / stage / "metrics.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file) if row.get(key)]


def trained(config):
    train_stages(config)
    return config.folder


def specialize(finished_run, *overrides):
    checkpoint = f"schedule.checkpoint={finished_run}/dense/checkpoint"
    return ("schedule=specialize", checkpoint, *BRANCH, *overrides)


def test_two_runs_with_one_seed_have_bitwise_equal_weights(small_config, tmp_path):
    first = weights(trained(small_config(*DENSE)))
    second = weights(trained(small_config(*DENSE, f"paths.runs={tmp_path}/again")))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_that_diverges_is_refused(small_config):
    config = small_config("optimizer.learning_rate=1e30", "optimizer.warmup_updates=0")
    with pytest.raises(TrainingError, match="there is no state to go back to"):
        trained(config)
    assert not list(config.folder.glob("*/checkpoint"))


def test_weights_that_were_ruined_are_those_before_again(small_config, monkeypatch):
    config = small_config("callbacks.keep=best", "schedule=dense", "states.every=5")
    seen = []
    # The first validation is sound; its weights are copied before the callback ends.
    monkeypatch.setattr(KeepBest, "on_validation_end", _then(KeepBest.on_validation_end, seen))
    trained(config)
    # Back to the state that was just taken, which does not help, and then to the one before it.
    assert seen == [15, 15, 30]
    state = load_file(config.folder / "dense" / "checkpoint" / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in state.values())


def _then(real, seen):
    def on_validation_end(callback, trainer, module):
        real(callback, trainer, module)
        seen.append(trainer.global_step)
        if len(seen) == 1:
            with torch.no_grad():
                module.model.output.weight.fill_(torch.nan)

    return on_validation_end


def test_another_seed_gives_other_weights(small_config):
    first = weights(trained(small_config(*DENSE)))
    second = weights(trained(small_config(*DENSE, "seed=2")))
    name = "encoder.0.feed_forward.fc1.weight"
    assert not torch.equal(first[name], second[name])


def test_losses_are_those_of_the_golden_file(small_config):
    """Guards the numerics: new figures need a reason in the changelog.

    The tolerance is for other processors; on one machine the losses are bitwise the same.
    """
    found = losses(trained(small_config(*DENSE, *EVERY_LOSS)))
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(found) == 20
    assert found == pytest.approx(golden["train/nll"], rel=2e-4)


def test_smaller_micro_batches_give_the_gradient_of_the_same_update(small_config):
    config = small_config("model.dropout=0.0")
    corpus = prepared_corpus(config)
    tables = {d: corpus.table(d, "train") for d in corpus.directions}
    plan = TrainingPlan(tables, batch=config.batch, temperature=1.0, seed=0)
    update = next(plan.updates())
    reader = TableReader(tables, sequence_format(corpus.vocabulary))
    model = Transformer(config.model, vocabulary_size=corpus.vocabulary.size, pad=0)

    def gradient(batches):
        model.zero_grad()
        for planned in batches:
            batch = reader.read(planned, update_tokens=update.target_tokens)
            real = batch.target_real_BT
            loss, _ = smoothed_cross_entropy(
                model(batch)[real], model.output.weight, batch.target_out_BT[real], smoothing=0.1
            )
            (loss / batch.update_tokens).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    halves = [
        PlannedBatch(planned.direction[part], planned.row[part])
        for planned in update.batches
        for part in (slice(None, None, 2), slice(1, None, 2))
    ]
    torch.testing.assert_close(gradient(update.batches), gradient(halves), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "ranks"), [("ddp", 2), ("fsdp", 2), ("ddp", 4)])
@pytest.mark.usefixtures("forked_ranks")
def test_several_ranks_take_the_steps_of_one(small_config, strategy, ranks):
    words = (*DENSE, *EVERY_LOSS, "batch.per_update=4")
    launch = ("trainer=ddp_sim", f"trainer.devices={ranks}", f"trainer.strategy={strategy}")
    one, several = small_config(*words, "name=alone"), small_config(*words, *launch)
    assert one.folder != several.folder
    alone, together = trained(one), several.folder
    assert train_stages(several) == ["dense"]
    for key in ("train/nll", "valid/nll"):
        assert losses(together, key=key) == pytest.approx(losses(alone, key=key), rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.usefixtures("forked_ranks")
def test_compiled_layers_of_two_ranks_take_the_steps_of_eager_ones(small_config, strategy):
    words = ("schedule=dense", "schedule.dense.updates=6", "schedule.dense.validate_every=3")
    words += ("callbacks.log_every=1", "model.dropout=0", "trainer=ddp_sim")
    # Compilation is part of a run's name, its strategy is not.
    eager = small_config(*words)
    compiled = small_config(*words, "trainer.compile=true", f"trainer.strategy={strategy}")
    for config in (eager, compiled):
        assert train_stages(config) == ["dense"]
    for key in ("train/nll", "valid/nll"):
        found = losses(compiled.folder, key=key)
        assert found == pytest.approx(losses(eager.folder, key=key), rel=1e-4)
    assert losses(compiled.folder, key="train/compiled")[-1] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("forked_ranks")
def test_packed_batches_read_in_the_background_by_two_ranks_train_as_well(small_config):
    words = ("batch.layout=packed", "trainer=ddp_sim", "trainer.background=true")
    padded, packed = small_config(*DENSE, *EVERY_LOSS), small_config(*DENSE, *EVERY_LOSS, *words)
    trained(padded)
    assert train_stages(packed) == ["dense"]
    key = "valid/nll"
    before, after = losses(packed.folder, key=key)
    assert after < before
    assert after == pytest.approx(losses(padded.folder, key=key)[-1], rel=0.05)
    fill = losses(packed.folder, key="train/fill")
    assert 0.8 < sum(fill) / len(fill) < 1


def test_the_log_holds_the_throughput(small_config):
    folder = trained(small_config(*DENSE, "callbacks.log_every=5"))
    for key in (
        "source_tokens_per_second",
        "target_tokens_per_second",
        "tflops",
        "memory_mib",
        "held_memory_mib",
    ):
        assert min(losses(folder, key=f"train/{key}")) > 0
    for key in ("fill", "data_wait", "share_of_matrix_rate"):
        assert all(0 <= value <= 1 for value in losses(folder, key=f"train/{key}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "word",
    ["trainer.recompute=true", "trainer.precision=bf16-mixed", "trainer.loss=torch"],
)
def test_other_ways_to_compute_train_to_the_same_likelihood(small_config, word):
    plain = losses(trained(small_config(*DENSE)), key="valid/nll")
    other = losses(trained(small_config(*DENSE, word)), key="valid/nll")
    assert other == pytest.approx(plain, rel=0.02)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_stage_warms_up_in_sight_and_out_of_the_throughput(
    small_config, tmp_path, monkeypatch
):
    # What an older version compiled, torch keeps with its conditions.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    words = (*DENSE, "callbacks.log_every=1")
    plain = losses(trained(small_config(*words)), key="valid/nll")
    folder = trained(small_config(*words, "trainer.compile=true"))
    assert losses(folder, key="valid/nll") == pytest.approx(plain, rel=0.02)
    assert len(losses(folder)) == 20
    speeds = losses(folder, key="train/target_tokens_per_second")
    assert len(speeds) == 19
    first, second, *_ = speeds
    assert first > second / 10


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_either_precision(small_config, monkeypatch, precision):
    norms = []
    step = torch.optim.Adam.step

    def watched(optimizer, *given, **named):
        done = step(optimizer, *given, **named)
        norms.append(gradient_norm(optimizer).item())
        return done

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    words = ("schedule.dense.updates=4", "optimizer.clip_norm=0.5")
    trained(small_config(*DENSE, *words, f"trainer.precision={precision}"))
    assert norms == pytest.approx([0.5] * 4, rel=1e-3)


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_follows_the_processor_and_says_so(
    small_config, monkeypatch, capsys, bf16, expected
):
    for name in trainer_module._BF16_CHECKS:
        monkeypatch.setattr(torch.cpu, name, lambda: bf16)
    settings = small_config("trainer.precision=auto").trainer
    assert chosen_precision(settings) == expected
    assert f"precision=auto: {expected}" in capsys.readouterr().err
    fixed = small_config("trainer.precision=32-true").trainer
    assert chosen_precision(fixed) == "32-true"
    assert not capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.usefixtures("forked_ranks")
def test_two_ranks_find_exactly_the_neurons_of_one(small_config, finished_run, strategy):
    words = specialize(finished_run, "trainer=ddp_sim", f"trainer.strategy={strategy}")
    two = small_config(*words)
    train_stages(two)
    name = "identification/statistics.safetensors"
    together = ActivationStatistics.load(two.folder / name)
    alone = ActivationStatistics.load(finished_run / name)
    assert together.tasks == alone.tasks
    for site in alone.sites:
        assert torch.equal(together.active[site.name], alone.active[site.name])
        assert torch.equal(together.units[site.name], alone.units[site.name])
    atlas = "neuron_specialization/checkpoint/atlas.safetensors"
    assert NeuronAtlas.load(two.folder / atlas) == NeuronAtlas.load(finished_run / atlas)


def test_branches_see_the_same_batches_and_differ_in_masks_alone(
    small_config, finished_run, tmp_path
):
    """With every neuron allowed, the specialised branch is continue-dense to the bit."""
    some = finished_run / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    atlas = NeuronAtlas.load(some)
    whole = atlas | ~atlas
    whole.save(tmp_path / "whole.safetensors")
    words = specialize(finished_run, f"schedule.atlas={tmp_path}/whole.safetensors")
    folder = trained(small_config(*words))
    control, special = weights(folder, "continue_dense"), weights(folder, "neuron_specialization")
    assert all(torch.equal(control[name], special[name]) for name in control)


def test_stages_of_other_text_are_not_reused(small_config, tmp_path):
    lines = [f"w{n % 13} w{n % 7} w{n % 5} w{n}" for n in range(300)]

    def write(words):
        (tmp_path / "text").mkdir(exist_ok=True)
        for language, text in (("en", lines), ("de", words)):
            name = tmp_path / "text" / f"train.en-de.{language}"
            name.write_text("".join(f"{line}\n" for line in text))

    files = [f"data.root={tmp_path}/text", "data.pairs=[en-de]", "data.split.valid=0.1"]
    words = ["data=files", *files, "data.split.test=0.1", "data.vocabulary.size=60"]
    config = small_config(*words, *DENSE, without=("data=", "data.sentences="))
    write([line.upper() for line in lines])
    trained(config)
    write([f"X{line}" for line in lines])
    with pytest.raises(CheckpointError, match="other text"):
        trained(config)


def test_a_specialised_checkpoint_is_not_taken_for_dense(small_config, finished_run):
    words = list(specialize(finished_run))
    words[1] = f"schedule.checkpoint={finished_run}/neuron_specialization/checkpoint"
    with pytest.raises(CheckpointError, match="not a dense one"):
        trained(small_config(*words))


def test_rows_that_no_direction_owns_keep_their_weights(finished_run):
    atlas = NeuronAtlas.load(
        finished_run / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    )
    before, after = weights(finished_run), weights(finished_run, "neuron_specialization")
    checked = 0
    for site in atlas.sites:
        unowned = ~atlas.masks(site).any(0)
        name = f"{site.stack}.{site.layer}.feed_forward.fc1.weight"
        assert torch.equal(before[name][unowned], after[name][unowned])
        assert not torch.equal(before[name][~unowned], after[name][~unowned])
        checked += int(unowned.sum())
    assert checked > 0


def test_a_finished_stage_is_not_trained_again(small_config):
    config = small_config(*DENSE)
    folder = trained(config)
    path = folder / "dense" / "checkpoint" / "model.safetensors"
    written = path.stat().st_mtime_ns
    trained(config)
    assert path.stat().st_mtime_ns == written


def test_keeping_the_best_restores_the_weights_of_the_best_validation(small_config):
    best = small_config(*DENSE, "callbacks.keep=best", "optimizer.learning_rate=0.3")
    folder = trained(best)
    corpus = prepared_corpus(best)
    model = load_checkpoint(folder / "dense" / "checkpoint")
    from nsmt.evaluation.translation import likelihoods

    tables = {d: corpus.table(d, "valid") for d in corpus.directions}
    found = likelihoods(model, tables, tokens=512).values()
    mean = sum(nll.sum() / tokens.sum() for nll, tokens in found) / len(corpus.directions)
    assert mean == pytest.approx(min(losses(folder, key="valid/nll")), rel=1e-5)


def test_an_atlas_of_another_model_is_refused(small_config, finished_run):
    other = trained(small_config(*DENSE, "seed=5"))
    atlas = finished_run / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    config = small_config(*specialize(other, f"schedule.atlas={atlas}"))
    with pytest.raises(AtlasError, match="identified on another model"):
        trained(config)
    assert not config.folder.exists()


def test_a_given_atlas_is_used_as_it_is(small_config, finished_run):
    atlas = finished_run / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    folder = trained(small_config(*specialize(finished_run, f"schedule.atlas={atlas}")))
    used = folder / "neuron_specialization" / "checkpoint" / "atlas.safetensors"
    assert NeuronAtlas.load(used) == NeuronAtlas.load(atlas)


def test_a_corrupt_checkpoint_is_refused(small_config, run_copy):
    path = run_copy / "dense" / "checkpoint" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"corrupt: model\.safetensors"):
        trained(small_config(*specialize(run_copy)))


def test_a_checkpoint_with_another_vocabulary_is_refused(small_config, finished_run):
    config = small_config(*specialize(finished_run, "data.vocabulary.size=110"))
    with pytest.raises(CheckpointError, match="vocabulary"):
        trained(config)


def test_a_given_dense_model_is_written_once_and_stays_the_same(small_config, run_copy):
    """Other ranks may be reading it when a run is started again."""
    config = small_config(*specialize(run_copy))
    path = trained(config) / "dense" / "checkpoint"
    written = path.stat().st_ino
    trained(config)
    assert path.stat().st_ino == written
    model = load_checkpoint(run_copy / "dense" / "checkpoint")
    with torch.no_grad():
        model.model.output.weight.add_(1.0)
    save_checkpoint(run_copy / "dense" / "checkpoint", model)
    with pytest.raises(CheckpointError, match=r"another model than schedule\.checkpoint is now"):
        trained(config)
