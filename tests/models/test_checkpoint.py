import json
import pickletools
import shutil
from dataclasses import replace

import pytest
import torch

from nsmt.data.settings import VocabularySettings
from nsmt.data.vocabulary import Vocabulary
from nsmt.errors import CheckpointError
from nsmt.files import sha256
from nsmt.models.checkpoint import TrainedModel, is_complete, load_checkpoint, save_checkpoint
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import pack_bits

FILES = ("model.safetensors", "model.json", "vocabulary.model", "atlas.safetensors")


@pytest.fixture(scope="module")
def vocabulary():
    text = ["the light shone in the darkness", "das Licht schien in der Finsternis"] * 20
    return Vocabulary.train(
        text, languages=("en", "de", "fr"), settings=VocabularySettings(size=60)
    )


@pytest.fixture(scope="module")
def make_trained(vocabulary, make_atlas, directions):
    def make(*, atlas=True, **changes):
        shape = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8, "d_ff": 11, "heads": 2}
        model = Transformer(
            ModelSettings(**(shape | changes)), vocabulary_size=vocabulary.size, pad=0
        )
        return TrainedModel(
            model=model,
            vocabulary=vocabulary,
            directions=directions,
            atlas=make_atlas(model) if atlas else None,
            history={"stage": "specialise", "updates": 7},
        )

    return make


@pytest.fixture
def folder(tmp_path, make_trained):
    save_checkpoint(tmp_path / "best", make_trained())
    return tmp_path / "best"


@pytest.mark.parametrize(
    ("share", "norm"), [("none", "pre"), ("decoder", "post"), ("decoder", "pre"), ("all", "pre")]
)
@pytest.mark.parametrize("atlas", [False, True])
def test_saving_and_loading_gives_the_model_back(tmp_path, make_trained, atlas, share, norm):
    trained = make_trained(atlas=atlas, share_embeddings=share, norm=norm, mask_bias=True)
    fingerprint = save_checkpoint(tmp_path / "best", trained)
    loaded = load_checkpoint(tmp_path / "best")
    expected = trained.model.state_dict()
    assert loaded.model.state_dict().keys() == expected.keys()
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert loaded.model.settings == trained.model.settings
    assert (loaded.model.output.weight is loaded.model.decoder_embedding.weight) == (
        share != "none"
    )
    assert not loaded.model.training
    assert loaded.vocabulary.fingerprint == trained.vocabulary.fingerprint
    assert loaded.directions == trained.directions
    assert loaded.history == trained.history
    assert loaded.atlas == trained.atlas
    assert (loaded.masks() is None) == (not atlas)
    assert loaded.fingerprint == fingerprint == sha256(tmp_path / "best" / FILES[0])


def test_masks_follow_the_directions_asked_for(folder, directions, make_batch, make_sentences):
    loaded = load_checkpoint(folder)
    site = loaded.model.sites[0]
    batch = make_batch(make_sentences(1))
    batch = replace(batch, direction_C=torch.zeros_like(batch.direction_C))
    for direction in directions:
        found = loaded.masks([direction])(batch)[site.name][0, 0]
        assert torch.equal(found, pack_bits(loaded.atlas.mask(str(direction), site)))
    assert loaded.masks().atlas.tasks == tuple(str(direction) for direction in directions)


def test_equal_models_make_equal_files(tmp_path, make_trained):
    trained = make_trained()
    for name in ("a", "b"):
        save_checkpoint(tmp_path / name, trained)
    for name in (*FILES, "manifest.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_saving_again_replaces_what_was_there(folder, make_trained):
    save_checkpoint(folder, make_trained(atlas=False))
    assert load_checkpoint(folder).atlas is None
    assert sorted(path.name for path in folder.parent.iterdir()) == ["best"]


def test_a_failed_save_leaves_the_checkpoint_before_untouched(folder, make_trained):
    before = load_checkpoint(folder).fingerprint
    spoilt = make_trained()
    spoilt.history["never"] = object()
    with pytest.raises(TypeError):
        save_checkpoint(folder, spoilt)
    assert load_checkpoint(folder).fingerprint == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["best"]


def test_nothing_in_the_folder_is_executable(folder):
    assert sorted(path.name for path in folder.iterdir()) == sorted((*FILES, "manifest.json"))
    for path in folder.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK"))
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(content))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["truncated", "empty", "bit", "missing"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)
    assert not is_complete(folder)


def test_any_flipped_bit_of_the_manifest_is_noticed(folder):
    assert is_complete(folder)
    path = folder / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="best"):
            load_checkpoint(folder)


def test_a_truncated_manifest_is_noticed(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(CheckpointError, match="torn"):
        load_checkpoint(folder)


@pytest.mark.parametrize("what", ["empty", "none", "file"])
def test_a_folder_without_a_checkpoint_is_refused(tmp_path, what):
    place = tmp_path / "elsewhere"
    if what == "empty":
        place.mkdir()
    elif what == "file":
        place.write_text("text")
    with pytest.raises(CheckpointError, match=r"no checkpoint in .*elsewhere"):
        load_checkpoint(place)
    assert not is_complete(place)


@pytest.mark.parametrize(
    "manifest", ["{}", "[]", "null", "3", '"text"', "{", '{"x": 1}', '{"readme": "0"}', "\0"]
)
def test_a_folder_with_another_programs_manifest_is_refused(tmp_path, manifest):
    (tmp_path / "readme").write_text("hello")
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(CheckpointError, match="checkpoint in"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("name", FILES[:3])
def test_a_manifest_that_does_not_vouch_for_every_file_is_refused(folder, name):
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest[name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told.update(version=2), "format version 2, this release reads 1"),
        (lambda told: told.update(version=2, model={"new": 1}), "format version 2"),
        (lambda told: told.pop("version"), "format version None"),
        (lambda told: told["model"].update(depth=3), "does not describe a model"),
        (lambda told: told.pop("model"), "does not describe a model"),
        (lambda told: told.pop("history"), "does not describe a model"),
        (lambda told: told.update(directions=["english"]), "does not describe a model"),
        (lambda told: told["model"].update(d_ff=12), "do not fit"),
        (lambda told: told["model"].update(encoder_layers=2), "do not fit"),
    ],
)
def test_a_description_that_this_release_cannot_read_is_refused(folder, change, said):
    path = folder / "model.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model.json"] = sha256(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=said):
        load_checkpoint(folder)


def test_a_checkpoint_from_before_there_were_two_kinds_of_norm_is_pre_norm(tmp_path, make_trained):
    # Its weights are there or not: neither kind has those of the other.
    folder = tmp_path / "best"
    for norm in ("pre", "post"):
        save_checkpoint(folder.with_name(norm), make_trained(norm=norm))
        without_norm(folder.with_name(norm))
    assert load_checkpoint(folder.with_name("pre")).model.settings.norm == "pre"
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(folder.with_name("post"))


def without_norm(folder):
    path, manifest_path = folder / "model.json", folder / "manifest.json"
    told, manifest = json.loads(path.read_text()), json.loads(manifest_path.read_text())
    del told["model"]["norm"]
    path.write_text(json.dumps(told))
    manifest_path.write_text(json.dumps(manifest | {"model.json": sha256(path)}))


def test_a_checkpoint_can_be_moved(folder, tmp_path):
    before = load_checkpoint(folder).fingerprint
    shutil.move(folder, tmp_path / "moved")
    assert load_checkpoint(tmp_path / "moved").fingerprint == before
