"""Small models and made-up tables of token ids for the tests of probes."""

import numpy as np
import pytest
import torch

from nsmt.data.corpus import TokenColumn, TokenTable
from nsmt.languages import Direction, LanguageTable
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas

CODES = ("en", "de", "fr", "nl", "es", "ru")
# Neither sorted by language nor by side.
DIRECTIONS = [
    Direction.parse(text)
    for text in ("fr-en", "en-de", "nl-en", "en-ru", "en-fr", "es-en", "de-en", "en-nl", "en-es")
] + [Direction("ru", "en")]
FIRST_PIECE, PIECES = 10, 24


class Pieces:
    """As much of a vocabulary as framing needs."""

    pad, eos, size, languages = 0, 2, PIECES, CODES

    def tag(self, code):
        return 3 + CODES.index(code)


def column(sentences):
    offsets = np.cumsum([0, *map(len, sentences)])
    return TokenColumn(np.concatenate([*sentences, np.empty(0, int)]).astype(np.uint16), offsets)


@pytest.fixture(scope="session")
def languages():
    return LanguageTable(CODES)


@pytest.fixture(scope="session")
def directions():
    return list(DIRECTIONS)


@pytest.fixture(scope="session")
def make_table():
    def make(sentences, seed=0, longest=7):
        rng = np.random.default_rng(seed)
        sides = [
            [rng.integers(FIRST_PIECE, PIECES, rng.integers(0, longest)) for _ in range(sentences)]
            for _ in range(2)
        ]
        return TokenTable(*map(column, sides))

    return make


@pytest.fixture
def make_atlas():
    def make(model, directions=DIRECTIONS, seed=0, share=0.6):
        generator = torch.Generator().manual_seed(seed)
        masks = {
            site.name: torch.rand(len(directions), site.width, generator=generator) < share
            for site in model.sites
        }
        return NeuronAtlas.from_masks([str(d) for d in directions], model.sites, masks)

    return make


@pytest.fixture
def make_trained():
    """A tiny model of the directions whose biases are not at their initial values."""

    def make(atlas=None, seed=0, directions=DIRECTIONS):
        torch.manual_seed(seed)
        settings = ModelSettings(
            encoder_layers=1, decoder_layers=2, d_model=8, d_ff=13, heads=2, dropout=0.3
        )
        model = Transformer(settings, vocabulary_size=PIECES, pad=Pieces.pad)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter += 0.3 * torch.randn_like(parameter)
        return TrainedModel(model.eval(), Pieces(), list(directions), atlas)

    return make


@pytest.fixture
def bits():
    """The weights and buffers of a model as bytes, and whether gradients were left behind."""

    def read(model):
        state = {name: each.numpy().tobytes() for name, each in model.state_dict().items()}
        return state, [each.grad for each in model.parameters()], model.training

    return read
