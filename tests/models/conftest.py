"""Tiny models, batches and atlases for the tests of the models room."""

import numpy as np
import pytest
import torch

from nsmt.data.batch import SequenceFormat
from nsmt.data.packing import Room
from nsmt.languages import Direction
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import WeightMasks, maskable_weights
from nsmt.neurons.atlas import NeuronAtlas

VOCABULARY = 23
DIRECTIONS = [Direction.parse(text) for text in ("en-de", "de-en", "en-fr")]
SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5, "fr": 6})
FIRST_PIECE = 7


@pytest.fixture(scope="session")
def directions():
    return DIRECTIONS


@pytest.fixture(scope="session")
def sequences():
    return SEQUENCES


@pytest.fixture(scope="session")
def make_model():
    """Build a tiny model in eval mode whose biases and norms are not at their initial values."""

    def make(seed=0, dtype=torch.float32, **changes):
        shape = {
            "encoder_layers": 2,
            "decoder_layers": 2,
            "d_model": 16,
            "d_ff": 21,
            "heads": 2,
            "max_positions": 24,
            "dropout": 0.1,
        }
        torch.manual_seed(seed)
        settings = ModelSettings(**(shape | changes))
        model = Transformer(settings, vocabulary_size=VOCABULARY, pad=SEQUENCES.pad)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter += 0.3 * torch.randn_like(parameter)
                elif "embedding" in name:
                    parameter *= 2
        return model.to(dtype).eval()

    return make


@pytest.fixture(scope="session")
def make_sentences():
    """Random pairs of pieces with the row of their direction: [(row, source, target)]."""

    def make(count, seed=0, longest=8):
        rng = np.random.default_rng(seed)
        return [
            (
                int(rng.integers(len(DIRECTIONS))),
                rng.integers(FIRST_PIECE, VOCABULARY, rng.integers(0, longest + 1)),
                rng.integers(FIRST_PIECE, VOCABULARY, rng.integers(0, longest + 1)),
            )
            for _ in range(count)
        ]

    return make


@pytest.fixture(scope="session")
def make_batch():
    """Collate what `make_sentences` made."""

    def make(sentences):
        return SEQUENCES.collate(
            [source for _, source, _ in sentences],
            [target for _, _, target in sentences],
            [DIRECTIONS[row] for row, _, _ in sentences],
            rows=[row for row, _, _ in sentences],
        )

    return make


@pytest.fixture(scope="session")
def make_atlas():
    """A random atlas of the three directions for a model."""

    def make(model, seed=0, share=0.5):
        generator = torch.Generator().manual_seed(seed)
        masks = {
            site.name: torch.rand(len(DIRECTIONS), site.width, generator=generator) < share
            for site in model.sites
        }
        return NeuronAtlas.from_masks([str(d) for d in DIRECTIONS], model.sites, masks)

    return make


@pytest.fixture(scope="session")
def make_packed(make_batch):
    """Put what `make_sentences` made one after the other, with some room to spare."""

    def make(sentences, spare=0):
        padded = make_batch(sentences)
        used = int(padded.source_real_BS.sum()), len(padded.counted_N)
        return SEQUENCES.pack(
            [source for _, source, _ in sentences],
            [target for _, _, target in sentences],
            [DIRECTIONS[row] for row, _, _ in sentences],
            rows=[row for row, _, _ in sentences],
            room=Room(used[0] + spare, used[1] + spare // 2),
        )

    return make


@pytest.fixture(scope="session")
def make_weight_masks():
    """Random masks of the three directions for a model."""

    def make(model, *, seed=0, share=0.6, scope="all", output_projection=False):
        generator = torch.Generator().manual_seed(seed)
        weights = maskable_weights(model, scope=scope, output_projection=output_projection)
        return WeightMasks.from_masks(
            (
                str(direction),
                {
                    name: torch.rand(each.shape, generator=generator) < share
                    for name, each in weights.items()
                },
            )
            for direction in DIRECTIONS
        )

    return make
