"""Systems: one model, one a direction, one a pair; and the models that weight masks make."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from weight_masks_read import mask_of

from nsmt.data.corpus import TokenColumn, TokenTable
from nsmt.data.settings import VocabularySettings
from nsmt.data.vocabulary import Vocabulary
from nsmt.errors import AdapterError, AtlasError, CheckpointError
from nsmt.evaluation.translation import likelihoods, translate
from nsmt.files import sha256
from nsmt.languages import Direction
from nsmt.models.adapters import Adapters, AdapterSettings, with_adapters
from nsmt.models.checkpoint import TrainedModel, load_checkpoint, save_checkpoint
from nsmt.models.decoding import DecodingSettings
from nsmt.models.masked_weights import DirectionWeights, masked_parts
from nsmt.models.settings import ModelSettings
from nsmt.models.systems import load_system, materialised
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import OUTPUT, maskable_weights

TEXT = ["the light shone in the darkness", "das Licht schien in der Finsternis"]
NAME = "weight_masks.safetensors"


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.train(
        TEXT * 20, languages=("en", "de", "fr"), settings=VocabularySettings(size=60)
    )


@pytest.fixture(scope="module")
def make_trained(vocabulary, directions, make_weight_masks):
    def make(*, masks=True, output_projection=False, own=None, **changes):
        shape = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 8, "d_ff": 11, "heads": 2}
        torch.manual_seed(0)
        model = Transformer(
            ModelSettings(**(shape | changes)), vocabulary_size=vocabulary.size, pad=0
        )
        found = make_weight_masks(model, output_projection=output_projection) if masks else None
        return TrainedModel(
            model.eval(), vocabulary, own or directions, history={"stage": "x"}, weight_masks=found
        )

    return make


def table_of(vocabulary, lines):
    pieces = vocabulary.encode(lines)
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.int64)
    column = TokenColumn(np.concatenate(pieces).astype(np.uint16), offsets)
    return TokenTable(column, column)


@pytest.mark.parametrize("output_projection", [False, True])
def test_a_checkpoint_gives_its_weight_masks_back(tmp_path, make_trained, output_projection):
    trained = make_trained(output_projection=output_projection)
    fingerprint = save_checkpoint(tmp_path / "best", trained)
    loaded = load_checkpoint(tmp_path / "best")
    assert loaded.weight_masks == trained.weight_masks
    assert loaded.fingerprint == fingerprint
    save_checkpoint(tmp_path / "again", trained)
    for path in (tmp_path / "best").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "bit", "missing"])
def test_damaged_weight_masks_are_named(tmp_path, make_trained, damage):
    save_checkpoint(tmp_path / "best", make_trained())
    path = tmp_path / "best" / NAME
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content if damage == "bit" else content[: len(content) // 2])
    if damage == "missing":
        path.unlink()
    with pytest.raises(CheckpointError, match=NAME):
        next(load_system(tmp_path / "best"))


def test_weight_masks_of_another_model_are_refused(tmp_path, make_trained):
    folder = tmp_path / "best"
    save_checkpoint(folder, make_trained())
    make_trained(d_ff=12).weight_masks.save(folder / NAME)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[NAME] = sha256(folder / NAME)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(AtlasError, match="belong to another model"):
        next(load_system(folder))


def test_a_model_with_weight_masks_is_not_used_without_them(make_trained, directions):
    trained = make_trained()
    with pytest.raises(CheckpointError, match="load_system"):
        trained.masks()
    with pytest.raises(CheckpointError, match="load_system"):
        translate(trained, {directions[0]: TEXT}, decoding=DecodingSettings(beam=1))


@pytest.mark.parametrize("output_projection", [False, True])
@pytest.mark.parametrize("share", ["none", "decoder", "all"])
@torch.no_grad()
def test_the_model_of_a_direction_is_the_masked_pass(
    tmp_path, make_trained, make_batch, make_sentences, share, output_projection
):
    trained = make_trained(share_embeddings=share, output_projection=output_projection)
    before = copy.deepcopy(trained.model.state_dict())
    weights = DirectionWeights(trained.weight_masks, trained.directions, model=trained.model)
    batch = make_batch(make_sentences(9))
    for part in masked_parts(trained.model, weights, batch):
        direction = trained.directions[part.batch.rows[0]]
        own = materialised(trained, trained.weight_masks, direction)
        assert own.directions == [direction]
        assert own.weight_masks is None
        assert own.history == {"stage": "x", "direction": str(direction)}
        hidden = part.batch.counted(own.model(part.batch))
        assert torch.allclose(hidden, part.hidden_ND, atol=1e-6)
        assert torch.equal(own.model.output.weight, part.weight_VD)
        # Embeddings are whole, tied or not.
        for name in ("encoder_embedding.weight", "decoder_embedding.weight"):
            assert torch.equal(own.model.state_dict()[name], before[name])
        # It is a model like any other: it can be kept and read again.
        save_checkpoint(tmp_path / str(direction), own)
        (again,) = load_system(tmp_path / str(direction))
        for name, value in again.model.state_dict().items():
            assert torch.equal(value, own.model.state_dict()[name]), name
    assert all(torch.equal(v, before[n]) for n, v in trained.model.state_dict().items())


def test_the_model_of_a_direction_translates_and_tells_likelihoods_with_its_weights_alone(
    make_trained, vocabulary, directions
):
    trained = make_trained(max_positions=64)
    told = {}
    for direction in directions[:2]:
        own = materialised(trained, trained.weight_masks, direction)
        by_hand = make_trained(masks=False, max_positions=64)
        with torch.no_grad():
            for name, weight in maskable_weights(by_hand.model).items():
                weight.mul_(mask_of(trained.weight_masks, str(direction), name))
        tables = {direction: table_of(vocabulary, TEXT)}
        nll, expected = (likelihoods(each, tables, tokens=64)[direction] for each in (own, by_hand))
        assert nll[0] == pytest.approx(expected[0], rel=1e-5)
        told[direction] = nll[0]
        greedy = DecodingSettings(beam=1, max_length_extra=5)
        found = translate(own, {direction: TEXT}, decoding=greedy)
        assert found == translate(by_hand, {direction: TEXT}, decoding=greedy)
    first, second = told.values()
    assert first != pytest.approx(second, rel=1e-3)


def test_directions_without_masks_are_refused(make_trained):
    trained = make_trained()
    with pytest.raises(AtlasError, match="'de-fr'"):
        materialised(trained, trained.weight_masks, Direction("de", "fr"))


@pytest.mark.parametrize("inside", ["", "checkpoint"])
def test_a_system_of_one_checkpoint_has_one_model_or_one_a_direction(
    tmp_path, make_trained, directions, inside
):
    save_checkpoint(tmp_path / "dense" / inside, make_trained(masks=False))
    save_checkpoint(tmp_path / "lass" / inside, make_trained(output_projection=True))
    (dense,) = load_system(tmp_path / "dense")
    assert dense.directions == directions
    models = list(load_system(tmp_path / "lass"))
    assert [each.directions for each in models] == [[direction] for direction in directions]
    assert len({each.model.output.weight.data_ptr() for each in models}) == len(directions)
    assert {OUTPUT} <= load_checkpoint(tmp_path / "lass" / inside).weight_masks.shapes.keys()


def test_a_system_of_several_checkpoints_has_the_models_of_all_by_name(
    tmp_path, make_trained, directions
):
    pairs = {"en-fr": directions[2:], "en-de": directions[:2]}
    for pair, own in pairs.items():
        save_checkpoint(tmp_path / pair / "checkpoint", make_trained(masks=False, own=own))
    # What else lies there is no part of it.
    (tmp_path / "figures").mkdir()
    assert [each.directions for each in load_system(tmp_path)] == [pairs["en-de"], pairs["en-fr"]]
    shutil.copytree(tmp_path / "en-de", tmp_path / "zz")
    with pytest.raises(CheckpointError, match="several models for de-en, en-de"):
        list(load_system(tmp_path))


def test_a_folder_without_models_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint"):
        next(load_system(tmp_path))


def test_a_model_has_masks_of_one_kind_or_adapters(
    make_model, make_atlas, make_weight_masks, directions
):
    """No method makes more, so that more is a mistake and not a choice among them."""
    model = make_model()
    atlas, masks = make_atlas(model), make_weight_masks(model)
    with pytest.raises(CheckpointError, match="masks of neurons and masks of weights at once"):
        TrainedModel(model, None, directions, atlas=atlas, weight_masks=masks)
    trained = TrainedModel(model, None, directions, atlas=atlas)
    groups = dict.fromkeys(directions, "all")
    with pytest.raises(AdapterError, match="masks or adapters already"):
        with_adapters(trained, groups, AdapterSettings(bottleneck=3))
    model.adapters = Adapters(model.settings, AdapterSettings(bottleneck=3), groups)
    with pytest.raises(CheckpointError, match="masks of neurons and adapters at once"):
        trained.masks()
