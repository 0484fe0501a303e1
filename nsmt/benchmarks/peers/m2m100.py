"""Hugging Face's M2M100, whose arithmetic is the Transformer's of this package.

`transformers` is an extra: pip install "nsmt[bench]".
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nsmt.benchmarks.peers import MissingPeerError
from nsmt.data.batch import BatchLayout
from nsmt.errors import ConfigurationError
from nsmt.models.attention import Attention
from nsmt.models.transformer import DecoderLayer, EncoderLayer, Transformer

_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}


def m2m100_of(model: Transformer, *, eos: int) -> Any:  # noqa: ANN401 -- an untyped library
    """M2M100 of the same shape with copies of the same weights.

    Raises MissingPeerError without `transformers` of a release that fits, ConfigurationError if
    embeddings are not all tied, or layer norms behind the sub-layers.
    """
    transformers = _library()
    settings = model.settings
    if settings.share_embeddings != "all":
        raise ConfigurationError(
            "M2M100 ties all embeddings", fix="set model.share_embeddings=all to compare with it"
        )
    if settings.norm != "pre":
        raise ConfigurationError(
            "M2M100 has its layer norms before the sub-layers",
            fix="set model.norm=pre to compare with it",
        )
    table = model.decoder_embedding.weight
    config = transformers.M2M100Config(
        vocab_size=len(table),
        d_model=settings.d_model,
        encoder_layers=settings.encoder_layers,
        decoder_layers=settings.decoder_layers,
        encoder_ffn_dim=settings.d_ff,
        decoder_ffn_dim=settings.d_ff,
        encoder_attention_heads=settings.heads,
        decoder_attention_heads=settings.heads,
        dropout=settings.dropout,
        attention_dropout=settings.attention_dropout,
        activation_dropout=settings.activation_dropout,
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        max_position_embeddings=settings.max_positions,
        pad_token_id=model.pad,
        bos_token_id=eos,
        eos_token_id=eos,
        decoder_start_token_id=eos,
    )
    peer = transformers.M2M100ForConditionalGeneration(config)
    missing, unexpected = peer.load_state_dict(_weights(model), strict=False)
    if unexpected or set(missing) - {"lm_head.weight", *_TIED}:
        raise MissingPeerError(
            f"this release of transformers names M2M100's weights differently: {unexpected}",
            fix="install the release in requirements.lock",
        )
    peer.tie_weights()
    for stack in (peer.model.encoder, peer.model.decoder):
        positions = stack.embed_positions
        # It counts the first position as pad + 1, this package always as 2.
        rows = positions.weights.shape[0]
        shifted = torch.zeros_like(positions.weights)
        sines = model.positions_PD[: rows - model.pad - 1].to(shifted)
        shifted[model.pad + 1 : model.pad + 1 + len(sines)] = sines
        positions.weights = shifted
    return peer.to(table.device)


_TIED = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight")


def smoothed_loss(peer: Any, batch: BatchLayout, *, smoothing: float) -> Tensor:  # noqa: ANN401
    """The mean loss over the batch's target tokens, as its users compute it."""
    logits = peer(
        input_ids=batch.source_BS,
        attention_mask=batch.source_real_BS.long(),
        decoder_input_ids=batch.target_in_BT,
        use_cache=False,
    ).logits
    labels = batch.target_out_BT.masked_fill(~batch.target_real_BT, -100)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)


def _library() -> Any:  # noqa: ANN401
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise MissingPeerError(
            "Hugging Face's transformers, a peer of this benchmark, is not installed",
            fix='pip install "nsmt[bench]"',
        ) from None


def _weights(model: Transformer) -> dict[str, Tensor]:
    found = {"model.shared.weight": model.decoder_embedding.weight}
    stacks: list[tuple[str, Sequence[EncoderLayer | DecoderLayer], nn.Module]] = [
        ("encoder", model.encoder_stack, model.encoder_norm),
        ("decoder", model.decoder_stack, model.decoder_norm),
    ]
    for name, layers, norm in stacks:
        found |= _named(f"model.{name}.layer_norm", norm)
        for depth, layer in enumerate(layers):
            prefix = f"model.{name}.layers.{depth}"
            found |= _attention(f"{prefix}.self_attn", layer.attention)
            found |= _named(f"{prefix}.self_attn_layer_norm", layer.attention_norm)
            found |= _named(f"{prefix}.final_layer_norm", layer.feed_forward_norm)
            for part in ("fc1", "fc2"):
                found |= _named(f"{prefix}.{part}", getattr(layer.feed_forward, part))
    for depth, decoder in enumerate(model.decoder_stack):
        prefix = f"model.decoder.layers.{depth}"
        found |= _attention(f"{prefix}.encoder_attn", decoder.cross_attention)
        found |= _named(f"{prefix}.encoder_attn_layer_norm", decoder.cross_norm)
    return {name: weight.detach().clone() for name, weight in found.items()}


def _attention(prefix: str, attention: Attention) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for ours, theirs in _ATTENTION.items():
        found |= _named(f"{prefix}.{theirs}", getattr(attention, ours))
    return found


def _named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": weight for name, weight in module.named_parameters()}
