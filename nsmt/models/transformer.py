"""The multilingual Transformer: sinusoidal positions, maskable feed-forward layers.

The arithmetic is that of the papers' models (Vaswani et al. 2017, with layer norm where
`nsmt.models.residual` says): embeddings times √d, sines in the first half of a position's
vector and cosines in the second, frequencies 10000^(-i/(d/2-1)), counted from position 2.

Shape suffixes: B rows, S source positions, T target positions, D model width, V vocabulary,
P bytes of a site's bits, Q positions of masks (1 if a row is one sentence's), K beams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nsmt.data.batch import BatchLayout, Spans
from nsmt.models.adapters import Adapters, Routes
from nsmt.models.attention import Attention, KeyValues, Reach
from nsmt.models.cache import DecoderCache, SelfCache
from nsmt.models.dropout import Dropout
from nsmt.models.feed_forward import FeedForward
from nsmt.models.linear import Linear
from nsmt.models.masks import SiteMasks
from nsmt.models.residual import ResidualNorm, final_norm
from nsmt.models.settings import ModelSettings
from nsmt.neurons.sites import Site

_FIRST_POSITION = 2
# Of one kind of layer, before torch gives up; its own limit is 8.
_COMPILATIONS = 64


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each added to the stream."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.attention_norm = ResidualNorm(settings)
        self.attention = _attention(settings)
        self.feed_forward_norm = ResidualNorm(settings)
        self.feed_forward = _feed_forward(settings)
        self.dropout = Dropout(settings.dropout)

    def forward(self, x_BSD: Tensor, reach: Reach, mask_BQP: Tensor | None) -> Tensor:
        """One layer of the encoder."""
        read = self.attention_norm.read(x_BSD)
        attended = self.attention(read, self.attention.project(read), reach)
        x_BSD = self.attention_norm.joined(x_BSD, self.dropout(attended))
        fed = self.feed_forward(self.feed_forward_norm.read(x_BSD), mask_BQP)
        return self.feed_forward_norm.joined(x_BSD, self.dropout(fed))


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the source, feed-forward."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.attention_norm = ResidualNorm(settings)
        self.attention = _attention(settings)
        self.cross_norm = ResidualNorm(settings)
        self.cross_attention = _attention(settings)
        self.feed_forward_norm = ResidualNorm(settings)
        self.feed_forward = _feed_forward(settings)
        self.dropout = Dropout(settings.dropout)

    def forward(
        self,
        x_BTD: Tensor,
        reach: Reach,
        memory: Tensor | KeyValues,
        memory_reach: Reach,
        mask_BQP: Tensor | None,
        cache: SelfCache | None = None,
    ) -> Tensor:
        """One layer of the decoder over whole targets or, with a cache, over one more position.

        `memory` is the encoder's output [B, S, D], or what `memories` made of it.
        """
        read = self.attention_norm.read(x_BTD)
        own = self.attention.project(read)
        if cache is not None:
            own = cache.extended(own)
        attended = self.attention(read, own, reach)
        x_BTD = self.attention_norm.joined(x_BTD, self.dropout(attended))
        if isinstance(memory, Tensor):
            memory = self.cross_attention.project(memory)
        looked = self.cross_attention(self.cross_norm.read(x_BTD), memory, memory_reach)
        x_BTD = self.cross_norm.joined(x_BTD, self.dropout(looked))
        fed = self.feed_forward(self.feed_forward_norm.read(x_BTD), mask_BQP)
        return self.feed_forward_norm.joined(x_BTD, self.dropout(fed))


class Transformer(nn.Module):
    """Encoder-decoder over one joint vocabulary of `vocabulary_size` pieces."""

    positions_PD: Tensor

    def __init__(self, settings: ModelSettings, *, vocabulary_size: int, pad: int) -> None:
        super().__init__()
        self.settings = settings
        self.pad = pad
        # Whether layers keep nothing for the backward pass but their inputs.
        self.recompute = False
        # Whether padding enters both stacks as zeros, and nothing looks at it: as in fairseq, where
        # that shows in what padding computes. Real positions compute the same.
        self.silent_padding = False
        self._compiled = False
        self.adapters: Adapters | None = None
        width = settings.d_model
        self.decoder_embedding = nn.Embedding(vocabulary_size, width, padding_idx=pad)
        if settings.share_embeddings == "all":
            self.encoder_embedding = self.decoder_embedding
        else:
            self.encoder_embedding = nn.Embedding(vocabulary_size, width, padding_idx=pad)
        self.encoder = nn.ModuleList(EncoderLayer(settings) for _ in range(settings.encoder_layers))
        self.encoder_norm = final_norm(settings)
        self.decoder = nn.ModuleList(DecoderLayer(settings) for _ in range(settings.decoder_layers))
        self.decoder_norm = final_norm(settings)
        self.output = Linear(width, vocabulary_size, bias=False)
        self.dropout = Dropout(settings.dropout)
        self.register_buffer(
            "positions_PD", _sinusoids(settings.max_positions, width), persistent=False
        )
        self.apply(_initialise)
        if settings.share_embeddings != "none":
            self.output.weight = self.decoder_embedding.weight

    @property
    def sites(self) -> tuple[Site, ...]:
        """Every feed-forward layer, encoder first."""
        return tuple(self.projections)

    @property
    def projections(self) -> dict[Site, nn.Module]:
        """The second projection of every feed-forward layer, for recorders."""
        stacks: list[tuple[str, Sequence[EncoderLayer | DecoderLayer]]] = [
            ("encoder", self.encoder_stack),
            ("decoder", self.decoder_stack),
        ]
        return {
            Site(name, depth, self.settings.d_ff): layer.feed_forward.fc2
            for name, layers in stacks
            for depth, layer in enumerate(layers)
        }

    @property
    def encoder_stack(self) -> list[EncoderLayer]:
        """The encoder's layers, by depth."""
        return [cast("EncoderLayer", layer) for layer in self.encoder]

    @property
    def decoder_stack(self) -> list[DecoderLayer]:
        """The decoder's layers, by depth."""
        return [cast("DecoderLayer", layer) for layer in self.decoder]

    def encode(self, batch: BatchLayout, masks: SiteMasks | None = None) -> Tensor:
        """Read source tokens: [B, S, D]."""
        spans = batch.source_spans
        x_BSD = self._embed(self.encoder_embedding, batch.source_BS, spans)
        reach = _reach_of(batch.source_real_BS, spans, spans)
        self._expect_changes(x_BSD, reach=reach, masks=masks)
        routes = self._routes("encoder", masks, x_BSD)
        for depth, layer in enumerate(self.encoder_stack):
            x_BSD = self._run(layer, x_BSD, reach, _at(masks, f"encoder.{depth}"))
            x_BSD = self._adapted(x_BSD, "encoder", depth, routes)
        output: Tensor = self.encoder_norm(x_BSD)
        return output

    def forward(self, batch: BatchLayout, masks: SiteMasks | None = None) -> Tensor:
        """Teacher-forced hidden states at every target position: [B, T, D]."""
        memory_BSD = self.encode(batch, masks)
        spans = batch.target_spans
        x_BTD = self._embed(self.decoder_embedding, batch.target_in_BT, spans)
        real_B11T = batch.target_real_BT[:, None, None] if self.silent_padding else None
        own = Reach(allowed=real_B11T, causal=True, query_spans=spans, key_spans=spans)
        reach = _reach_of(batch.source_real_BS, spans, batch.source_spans)
        self._expect_changes(x_BTD, memory_BSD, reach=reach, masks=masks)
        routes = self._routes("decoder", masks, x_BTD)
        for depth, layer in enumerate(self.decoder_stack):
            mask_BQP = _at(masks, f"decoder.{depth}")
            x_BTD = self._run(layer, x_BTD, own, memory_BSD, reach, mask_BQP)
            x_BTD = self._adapted(x_BTD, "decoder", depth, routes)
        output: Tensor = self.decoder_norm(x_BTD)
        return output

    def compile_layers(self, *, backend: str = "inductor") -> None:
        """Compile each layer by itself: all of a stack share one compilation.

        What cannot be compiled, or would be again and again, is torch's error, not a slow layer.
        """
        # All models of a process count together: shapes of padded batches, with masks and without,
        # validated and trained.
        torch._dynamo.config.recompile_limit = _COMPILATIONS
        # Under DDP, torch would cut programs where a bucket of gradients ends. A layer is smaller,
        # and what is communicated while the next is computed is the same.
        torch._dynamo.config.optimize_ddp = False
        self._compiled = True
        for layer in (*self.encoder_stack, *self.decoder_stack):
            layer.compile(dynamic=None, fullgraph=True, backend=backend)

    def set_dropout(self, probability: float) -> None:
        """Drop another share of what layers and embeddings put out; that of attention stays."""
        layers: list[EncoderLayer | DecoderLayer] = [*self.encoder_stack, *self.decoder_stack]
        for dropout in (self.dropout, *(layer.dropout for layer in layers)):
            dropout.p = probability

    def mask_updates_only(self, updates_only: bool) -> None:  # noqa: FBT001 -- a switch
        """Whether masks act on the updates of a direction instead of on what it computes."""
        layers: list[EncoderLayer | DecoderLayer] = [*self.encoder_stack, *self.decoder_stack]
        for layer in layers:
            layer.feed_forward.update_only = updates_only

    def _expect_changes(self, *streams: Tensor, reach: Reach, masks: SiteMasks | None) -> None:
        """Tell the compiler of layers which sizes differ from batch to batch.

        It would take them for constants until it sees others, and compile everything twice. A size
        that makes another program whatever is said, as a single row does, is no error.
        """
        if not self._compiled:
            return
        for spans in (reach.query_spans, reach.key_spans):
            if spans is not None:
                torch._dynamo.maybe_mark_dynamic(spans.start_C1, 0)
        if reach.allowed is not None:
            torch._dynamo.maybe_mark_dynamic(reach.allowed, (0, 3))
            for stream_BSD in streams:
                torch._dynamo.maybe_mark_dynamic(stream_BSD, (0, 1))
            for mask_BQP in (masks or {}).values():
                torch._dynamo.maybe_mark_dynamic(mask_BQP, 0)

    def _run(self, layer: nn.Module, *inputs: object) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            output: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
        else:
            output = layer(*inputs)
        return output

    def _routes(self, stack: str, masks: SiteMasks | None, x_BSD: Tensor) -> Routes | None:
        if self.adapters is None:
            return None
        return self.adapters.routes(stack, masks, x_BSD.shape[:2])

    def _adapted(self, x_BSD: Tensor, stack: str, depth: int, routes: Routes | None) -> Tensor:
        """What a layer put out, through its adapters if there are any; never compiled with it."""
        if self.adapters is None:
            return x_BSD
        return self._run(self.adapters.after(stack, depth), x_BSD, routes)

    def memories(self, memory_BSD: Tensor) -> list[KeyValues]:
        """What each decoder layer attends to, computed once a sentence when decoding."""
        return [layer.cross_attention.project(memory_BSD) for layer in self.decoder_stack]

    def step(
        self,
        token_BK: Tensor,
        *,
        cache: DecoderCache,
        memories: Sequence[KeyValues],
        real_BS: Tensor,
        masks: SiteMasks | None,
    ) -> Tensor:
        """Decode one more token of each of K beams: logits [B, K, V]; `cache` is extended."""
        place = torch.full_like(token_BK, cache.length)
        x_BKD = self._embed_at(self.decoder_embedding, token_BK, place, end=cache.length + 1)
        own = Reach(allowed=cache.grow()[:, None])
        reach = _reach_of(real_BS, None, None)
        routes = self._routes("decoder", masks, x_BKD)
        for depth, layer in enumerate(self.decoder_stack):
            x_BKD = layer(
                x_BKD,
                own,
                memories[depth],
                reach,
                _at(masks, f"decoder.{depth}"),
                cache.layers[depth],
            )
            x_BKD = self._adapted(x_BKD, "decoder", depth, routes)
        logits: Tensor = self.output(self.decoder_norm(x_BKD))
        return logits

    def _embed(self, embedding: nn.Embedding, tokens_BS: Tensor, spans: Spans | None) -> Tensor:
        if spans is not None:
            return self._embed_at(embedding, tokens_BS, spans.place_Q, end=spans.longest)
        length = tokens_BS.shape[1]
        place_S = torch.arange(length, device=tokens_BS.device)
        x_BSD = self._embed_at(embedding, tokens_BS, place_S, end=length)
        return x_BSD * (tokens_BS != self.pad)[..., None] if self.silent_padding else x_BSD

    def _embed_at(
        self, embedding: nn.Embedding, tokens_BS: Tensor, place: Tensor, *, end: int
    ) -> Tensor:
        """Embed tokens at places, all of them before `end`."""
        if end > self.settings.max_positions:
            raise ValueError(f"a sequence of {end} tokens exceeds model.max_positions")
        scale = math.sqrt(self.settings.d_model)
        embedded = F.embedding(tokens_BS, embedding.weight, padding_idx=self.pad) * scale
        return self.dropout(embedded + self.positions_PD[place])  # type: ignore[no-any-return]


def _reach_of(real_BS: Tensor, query_spans: Spans | None, key_spans: Spans | None) -> Reach:
    """All real source positions of the same sentence."""
    if key_spans is not None:
        return Reach(query_spans=query_spans, key_spans=key_spans)
    return Reach(allowed=real_BS[:, None, None])


def _at(masks: SiteMasks | None, site: str) -> Tensor | None:
    return None if masks is None else masks.get(site)


def _attention(settings: ModelSettings) -> Attention:
    return Attention(settings.d_model, settings.heads, dropout=settings.attention_dropout)


def _feed_forward(settings: ModelSettings) -> FeedForward:
    return FeedForward(
        settings.d_model,
        settings.d_ff,
        dropout=settings.activation_dropout,
        mask_bias=settings.mask_bias,
    )


def _sinusoids(positions: int, width: int) -> Tensor:
    half = width // 2
    # A width of 2 has one frequency, and no ratio between two.
    frequency = torch.exp(torch.arange(half) * (-math.log(10_000) / max(half - 1, 1)))
    angle = torch.arange(_FIRST_POSITION, positions + _FIRST_POSITION)[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), dim=1)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, Attention):
        # Children come first, so this has the last word: smaller projections of the inputs.
        for projection in (module.query, module.key, module.value):
            nn.init.xavier_uniform_(projection.weight, gain=1 / math.sqrt(2))
