"""CTranslate2, an inference engine in C++, with the weights of a dense Transformer.

`ctranslate2` is an extra: pip install "nsmt[bench]".
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nsmt.benchmarks.peers import MissingPeerError
from nsmt.models.attention import Attention
from nsmt.models.decoding import DecodingSettings
from nsmt.models.transformer import DecoderLayer, EncoderLayer, Transformer


class CTranslate2:
    """Beam search over rows of token ids, whose names there are their numbers.

    Raises MissingPeerError where it is not installed, or not for such numbers on such a device.
    """

    def __init__(self, model: Transformer, *, eos: int, compute_type: str, device: str) -> None:
        library = _library("ctranslate2")
        spec = _spec(model, eos=eos)
        with tempfile.TemporaryDirectory() as folder:
            spec.save(folder)
            try:
                self._translator = library.Translator(
                    folder,
                    device=device,
                    compute_type=compute_type,
                    inter_threads=1,
                    intra_threads=torch.get_num_threads(),
                )
            except (RuntimeError, ValueError) as error:
                raise MissingPeerError(
                    f"CTranslate2 does not compute {compute_type} on {device}: {error}",
                    fix="install a build that does",
                ) from None

    def translate(
        self, rows: Sequence[Sequence[int]], limit: int, *, tag: int, settings: DecodingSettings
    ) -> list[list[int]]:
        """The pieces of each row's best hypothesis, without tag and </s>."""
        results = self._translator.translate_batch(
            [list(map(str, row)) for row in rows],
            target_prefix=[[str(tag)]] * len(rows),
            beam_size=settings.beam,
            length_penalty=settings.length_penalty,
            max_decoding_length=limit,
        )
        return [[int(piece) for piece in each.hypotheses[0][1:]] for each in results]


def _library(name: str) -> Any:  # noqa: ANN401 -- an untyped library
    try:
        return importlib.import_module(name)
    except ImportError:
        raise MissingPeerError(
            "CTranslate2, a peer of this benchmark, is not installed",
            fix='pip install "nsmt[bench]"',
        ) from None


def _spec(model: Transformer, *, eos: int) -> Any:  # noqa: ANN401 -- an untyped library
    specs = _library("ctranslate2.specs")
    settings = model.settings
    depths = (settings.encoder_layers, settings.decoder_layers)
    pre_norm = settings.norm == "pre"
    spec = specs.TransformerSpec.from_config(depths, settings.heads, pre_norm=pre_norm)
    sides = (
        (spec.encoder, spec.encoder.embeddings[0], model.encoder_embedding, model.encoder_norm),
        (spec.decoder, spec.decoder.embeddings, model.decoder_embedding, model.decoder_norm),
    )
    for stack, table, embedding, norm in sides:
        table.weight = _array(embedding.weight)
        stack.position_encodings.encodings = _array(model.positions_PD)
        stack.scale_embeddings = True
        if isinstance(norm, nn.LayerNorm):
            _norm(stack.layer_norm, norm)
    for to, layer in zip(spec.encoder.layer, model.encoder_stack, strict=True):
        _common(to, layer)
    for to, decoder in zip(spec.decoder.layer, model.decoder_stack, strict=True):
        _common(to, decoder)
        _norm(to.attention.layer_norm, decoder.cross_norm)
        cross = decoder.cross_attention
        _linear(to.attention.linear[0], cross.query)
        _linear(to.attention.linear[1], cross.key, cross.value)
        _linear(to.attention.linear[2], cross.output)
    _linear(spec.decoder.projection, model.output)
    names = [str(token) for token in range(model.output.out_features)]
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.decoder_start_token = spec.config.bos_token = spec.config.eos_token = str(eos)
    spec.config.unk_token = str(eos)
    spec.validate()
    spec.optimize(quantization=None)
    return spec


def _common(to: Any, layer: EncoderLayer | DecoderLayer) -> None:  # noqa: ANN401
    _norm(to.self_attention.layer_norm, layer.attention_norm)
    own: Attention = layer.attention
    _linear(to.self_attention.linear[0], own.query, own.key, own.value)
    _linear(to.self_attention.linear[1], own.output)
    _norm(to.ffn.layer_norm, layer.feed_forward_norm)
    _linear(to.ffn.linear_0, layer.feed_forward.fc1)
    _linear(to.ffn.linear_1, layer.feed_forward.fc2)


def _linear(to: Any, *layers: nn.Linear) -> None:  # noqa: ANN401
    to.weight = np.concatenate([_array(layer.weight) for layer in layers])
    biases = [layer.bias for layer in layers if layer.bias is not None]
    if biases:
        to.bias = np.concatenate([_array(bias) for bias in biases])


def _norm(to: Any, norm: nn.LayerNorm) -> None:  # noqa: ANN401
    to.gamma, to.beta = _array(norm.weight), _array(norm.bias)


def _array(weight: Tensor) -> np.ndarray:
    """A copy: the library changes what it is given."""
    return weight.detach().float().cpu().numpy().copy()
