"""Claims about what the files of a run say of its systems."""

import pytest
import torch
from safetensors.torch import save_file

from nsmt.commands.system_facts import parameters, tuning_updates, updates
from nsmt.errors import DataError
from nsmt.models.checkpoint import MODEL, WEIGHT_MASKS, WEIGHTS
from nsmt.models.weight_masks import WeightMasks


@pytest.fixture
def parts(tmp_path):
    """A system of two models, of 7 and of 5 parameters."""
    for name, sizes in (("en-de", ((2, 3), ())), ("de-en", ((5,),))):
        folder = tmp_path / name / "checkpoint"
        folder.mkdir(parents=True)
        weights = {str(place): torch.zeros(size) for place, size in enumerate(sizes)}
        save_file(weights, folder / WEIGHTS)
        (folder / MODEL).write_text('{"history": {"updates": 20}}')
    return tmp_path


def test_the_models_of_a_system_are_counted_together(parts):
    assert (parameters(parts), updates(parts)) == (12, (20,))
    assert (parameters(parts / "none"), updates(parts / "none")) == (None, ())


def test_masks_tell_how_long_the_models_were_trained_that_they_were_found_in(tmp_path):
    parts = [
        WeightMasks.from_masks([(name, {"w": torch.ones(2) > 0})], provenance={"updates": count})
        for name, count in (("en-de", 7), ("de-en", 5), ("en-fr", 7))
    ]
    WeightMasks.joined(parts).save(tmp_path / "checkpoint" / WEIGHT_MASKS)
    assert tuning_updates(tmp_path) == (5, 7)
    assert tuning_updates(tmp_path / "none") == ()


def test_a_file_that_was_cut_is_named(parts):
    weights, model = (parts / "en-de" / "checkpoint" / name for name in (WEIGHTS, MODEL))
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(DataError, match=f"{weights.name} is damaged"):
        parameters(parts)
    model.write_text('{"history"')
    with pytest.raises(DataError, match=f"{model.name} does not tell how it was made"):
        updates(parts)
