"""What sub-networks cost: memory of masks and parameters of adapters, from shapes alone.

Table 3 of Neuron Specialization (arXiv 2404.11201) counts a byte for every masked weight and
direction: all weights of the layers for LaSS, the first feed-forward weights for the method itself.
A mask of rows says the same in a bit a neuron, which is what an atlas holds.
"""

from __future__ import annotations

from typing import Final

from nsmt.models.settings import ModelSettings

# Query, key, value, output; a decoder layer attends twice. A feed-forward layer has two weights.
_ATTENTION_WEIGHTS: Final = 4
_FEED_FORWARD_WEIGHTS: Final = 2
_BYTES_A_PARAMETER: Final = 4


def layer_weights(model: ModelSettings) -> int:
    """Elements of all weight matrices of the layers, without biases, norms and embeddings."""
    attention = _ATTENTION_WEIGHTS * model.d_model**2
    feed_forward = _FEED_FORWARD_WEIGHTS * model.d_model * model.d_ff
    encoder = model.encoder_layers * (attention + feed_forward)
    return encoder + model.decoder_layers * (2 * attention + feed_forward)


def weight_mask_bytes(model: ModelSettings, *, directions: int) -> int:
    """A boolean of a byte for each weight of the layers and direction (LaSS)."""
    return layer_weights(model) * directions


def row_mask_bytes(model: ModelSettings, *, directions: int) -> int:
    """The same for the first feed-forward weights alone, as the released code keeps its masks."""
    return _neurons(model) * model.d_model * directions


def neuron_mask_bytes(model: ModelSettings, *, directions: int) -> int:
    """A bit for each feed-forward neuron and direction, rounded up by layer as an atlas packs."""
    layers = model.encoder_layers + model.decoder_layers
    return layers * directions * -(-model.d_ff // 8)


def adapter_parameters(model: ModelSettings, *, bottleneck: int, sets: int) -> int:
    """Of `sets` of adapters with one after each layer: norm, down, up, with biases."""
    d, b = model.d_model, bottleneck
    one = 2 * d * b + b + d + 2 * d
    return (model.encoder_layers + model.decoder_layers) * sets * one


def parameter_bytes(count: int) -> int:
    """Of single precision."""
    return _BYTES_A_PARAMETER * count


def _neurons(model: ModelSettings) -> int:
    return (model.encoder_layers + model.decoder_layers) * model.d_ff
