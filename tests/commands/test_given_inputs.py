"""A run that is given a checkpoint or an atlas knows it by its content, not by its path."""

import shutil

import pytest
import torch

from nsmt.commands import sweep_job
from nsmt.commands.train import train
from nsmt.errors import CheckpointError
from nsmt.models.checkpoint import load_checkpoint, save_checkpoint
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.records import read_record, write_record

BRANCH = ("schedule.specialise.updates=2", "decoding.max_length_extra=2")


@pytest.fixture
def inputs(finished_run, tmp_path):
    """Copies of a dense model and an atlas of it, and the words that give them to a run."""
    dense, atlas = tmp_path / "given" / "dense", tmp_path / "given" / "atlas.safetensors"
    shutil.copytree(finished_run / "dense" / "checkpoint", dense)
    shutil.copy(finished_run / "neuron_specialization" / "checkpoint" / atlas.name, atlas)
    words = ("schedule=specialize", f"schedule.checkpoint={dense}", *BRANCH)
    return dense, atlas, words


def other_weights(folder):
    model = load_checkpoint(folder)
    with torch.no_grad():
        model.model.output.weight.add_(1.0)
    save_checkpoint(folder, model)


def other_sets(path):
    (~NeuronAtlas.load(path)).save(path)


def test_a_finished_run_is_not_passed_off_as_one_of_other_inputs(small_config, inputs, capsys):
    dense, atlas, words = inputs
    config = small_config(*words, f"schedule.atlas={atlas}")
    train(config)
    record = read_record(config.folder)
    assert train(config)
    assert "is finished" in capsys.readouterr().out
    assert sweep_job._is_finished(config.folder, config)
    kept = atlas.read_bytes()
    other_sets(atlas)
    with pytest.raises(CheckpointError, match=r"another content of schedule\.atlas\n.*never"):
        train(config)
    # A sweep does not pass it over, so that the run itself says so.
    assert not sweep_job._is_finished(config.folder, config)
    # Releases before did not write it down.
    write_record(config.folder, {k: v for k, v in record.items() if k != "given"})
    assert train(config)
    write_record(config.folder, record)
    atlas.write_bytes(kept)
    other_weights(dense)
    with pytest.raises(CheckpointError, match=r"another content of schedule\.checkpoint\n"):
        train(config)
    assert read_record(config.folder) == record


def test_a_stage_of_another_atlas_is_not_taken_over(small_config, inputs):
    _, atlas, words = inputs
    first = small_config(*words, f"schedule.atlas={atlas}", "name=first")
    train(first)
    other_sets(atlas)
    how = ("name=second", f"resume={first.folder}", "resume_changes=[name]")
    with pytest.raises(CheckpointError, match=r"schedule\.atlas\.fingerprint: \w+ then, \w+ now"):
        train(small_config(*words, f"schedule.atlas={atlas}", *how))


def test_nothing_is_shared_with_a_control_of_another_checkpoint(small_config, inputs):
    dense, _, words = inputs
    train(small_config(*words, "method=continue_dense"))
    other_weights(dense)
    config = small_config(*words, "method=random")
    train(config)
    kept = load_checkpoint(config.folder / "dense" / "checkpoint").model.state_dict()
    given = load_checkpoint(dense).model.state_dict()
    assert all(torch.equal(given[name], weights) for name, weights in kept.items())
