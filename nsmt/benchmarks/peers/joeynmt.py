"""JoeyNMT's Transformer, with its own loss and initial weights.

JoeyNMT 2.3 pins a protobuf that other packages cannot live with, so it is no extra of ours:
pip install --no-deps joeynmt subword-nmt mock && pip install importlib_metadata.
"""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from nsmt.benchmarks.peers import MissingPeerError
from nsmt.data.batch import BatchLayout
from nsmt.models.settings import ModelSettings


def joeynmt_like(
    settings: ModelSettings, *, vocabulary: int, pad: int, eos: int, smoothing: float
) -> Any:  # noqa: ANN401 -- an untyped library
    """A model of that shape with all embeddings tied; MissingPeerError without JoeyNMT."""
    try:
        library = importlib.import_module("joeynmt.model")
    except ImportError:
        raise MissingPeerError(
            "JoeyNMT, a peer of this benchmark, is not installed", fix="benchmarks/README.md"
        ) from None
    stack = {
        "type": "transformer",
        "num_heads": settings.heads,
        "hidden_size": settings.d_model,
        "ff_size": settings.d_ff,
        "dropout": settings.dropout,
        "layer_norm": settings.norm,
        "embeddings": {"embedding_dim": settings.d_model, "scale": True},
    }
    shared = _Vocabulary(vocabulary, pad=pad, eos=eos)
    peer = library.build_model(
        cfg={
            "encoder": {**stack, "num_layers": settings.encoder_layers},
            "decoder": {**stack, "num_layers": settings.decoder_layers},
            "tied_embeddings": True,
            "tied_softmax": True,
        },
        src_vocab=shared,
        trg_vocab=shared,
    )
    peer.loss_function = ("crossentropy", smoothing)
    # It has one dropout for everything; ours has none on attention and hidden neurons, as set.
    for module in peer.modules():
        match type(module).__name__:
            case "MultiHeadedAttention":
                module.dropout.p = settings.attention_dropout
            case "PositionwiseFeedForward":
                inner, _ = (each for each in module.pwff_layer if isinstance(each, nn.Dropout))
                inner.p = settings.activation_dropout
    return peer


def smoothed_loss(peer: Any, batch: BatchLayout) -> Tensor:  # noqa: ANN401
    """The mean loss over the batch's target tokens."""
    real_BT = batch.target_real_BT
    loss: Tensor = peer(
        return_type="loss",
        src=batch.source_BS,
        src_mask=batch.source_real_BS[:, None],
        src_length=batch.source_real_BS.sum(1),
        trg_input=batch.target_in_BT,
        trg=batch.target_out_BT,
        trg_mask=real_BT[:, None],
    )[0]
    return loss / len(batch.counted_N)


class _Vocabulary:
    """What JoeyNMT's model asks of a vocabulary."""

    def __init__(self, size: int, *, pad: int, eos: int) -> None:
        self._size = size
        self.pad_index, self.eos_index = pad, eos
        self.bos_index = self.unk_index = self.sep_index = eos
        self.specials: list[str] = []
        self.lang_tags: list[str] = []

    def __len__(self) -> int:
        return self._size
