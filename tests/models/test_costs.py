"""The arithmetic behind the paper's Table 3, from the shapes of its EC30 model."""

import pytest
import torch

from nsmt.commands.compose import composed
from nsmt.commands.config import RunConfig
from nsmt.models import costs
from nsmt.models.transformer import Transformer

GIB = 2**30
DIRECTIONS = 60
# 128,000 pieces and what fairseq adds.
VOCABULARY = 128_035


@pytest.fixture(scope="module")
def big():
    return composed("train", ["model=mt_big"], RunConfig).model


def test_boolean_masks_of_all_weights_take_the_memory_that_the_paper_names_for_lass(big):
    assert costs.layer_weights(big) == 176_160_768
    assert costs.weight_mask_bytes(big, directions=DIRECTIONS) / GIB == pytest.approx(
        9.844, abs=5e-4
    )


def test_boolean_masks_of_rows_take_what_it_names_for_itself_and_bits_far_less(big):
    assert costs.row_mask_bytes(big, directions=DIRECTIONS) / GIB == pytest.approx(2.81, abs=5e-3)
    assert costs.neuron_mask_bytes(big, directions=DIRECTIONS) == 360 * 1024


def test_adapters_of_256_add_87_percent_and_1_42_gigabytes(big):
    added = costs.adapter_parameters(big, bottleneck=256, sets=DIRECTIONS)
    assert added == 379_883_520
    with torch.device("meta"):
        model = Transformer(big, vocabulary_size=VOCABULARY, pad=0)
    whole = sum(parameter.numel() for parameter in model.parameters())
    assert whole == pytest.approx(438.6e6, rel=5e-4)
    assert 100 * added / whole == pytest.approx(86.6, abs=0.05)
    assert costs.parameter_bytes(added) / GIB == pytest.approx(1.415, abs=5e-4)


@pytest.mark.parametrize("choice", ["tiny", "mt_small"])
def test_layer_weights_are_the_matrices_of_the_layers(choice):
    settings = composed("train", [f"model={choice}"], RunConfig).model
    with torch.device("meta"):
        model = Transformer(settings, vocabulary_size=100, pad=0)
    matrices = sum(
        parameter.numel()
        for name, parameter in model.named_parameters()
        if parameter.ndim == 2 and "embed" not in name and 100 not in parameter.shape
    )
    assert costs.layer_weights(settings) == matrices
