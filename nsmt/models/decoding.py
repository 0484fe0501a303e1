"""Beam search with a key/value cache over batches that may mix directions; beam 1 is greedy.

The rules are fairseq's, which the papers decode with: the target tag is forced and its probability
counted; each step ranks 2 x beam candidates; `</s>` ends a hypothesis only from among the first
`beam` of them; a sentence is done when `beam` hypotheses ended; a score is the sum of natural-log
probabilities, tag and `</s>` included, divided by length^length_penalty. Different from fairseq,
the length limit is that of each sentence, so that a translation does not depend on its batch.

Shape suffixes: B sentences still decoding, K beams, S source positions, L tokens so far, V pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.models.attention import KeyValues
from nsmt.models.cache import DecoderCache
from nsmt.models.loss import not_numbers
from nsmt.models.masks import SiteMasks
from nsmt.models.transformer import Transformer
from nsmt.settings import Count, Settings

# Hears which sentences of the batch the rows of the next steps are, where some are done.
Follow = Callable[[np.ndarray], None]


class DecodingSettings(Settings):
    """How to search; the paper's values are the defaults."""

    beam: Count = 5
    length_penalty: float = 1.0
    max_length_factor: Annotated[float, Field(ge=0)] = 0.0
    max_length_extra: Count = 200
    batch_sentences: Count = 64


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished translation without its tag and `</s>`, and its normalised log-probability."""

    tokens: list[int]
    score: float


@dataclass(slots=True)
class _Beams:
    """The sentences still decoding; `row_B` says which sentence of the batch each is.

    What only bookkeeping looks at is kept on the host, so that a step waits for a GPU once.
    """

    row_B: np.ndarray
    limit_B: np.ndarray
    tokens_BKL: np.ndarray
    token_BK: Tensor
    score_BK: Tensor
    cache: DecoderCache
    memories: list[KeyValues]
    real_BS: Tensor
    masks: SiteMasks | None

    def move(self, origin_BK: np.ndarray, token_BK: np.ndarray, score_BK: np.ndarray) -> None:
        """Go on from beams of origin by one more token."""
        before = np.take_along_axis(self.tokens_BKL, origin_BK[..., None], axis=1)
        self.tokens_BKL = np.concatenate((before, token_BK[..., None]), axis=-1)
        device = self.score_BK.device
        self.cache.reorder(torch.from_numpy(origin_BK).to(device, non_blocking=True))
        self.token_BK = torch.from_numpy(token_BK).to(device, non_blocking=True)
        score = torch.from_numpy(score_BK).to(device, non_blocking=True)
        self.score_BK = score.to(self.score_BK.dtype)

    def keep(self, rows: np.ndarray) -> None:
        """Go on with some sentences only."""
        self.row_B, self.limit_B = self.row_B[rows], self.limit_B[rows]
        self.tokens_BKL = self.tokens_BKL[rows]
        index = torch.from_numpy(rows).to(self.score_BK.device, non_blocking=True)
        self.score_BK, self.token_BK = self.score_BK[index], self.token_BK[index]
        self.cache.take(index)
        # The longest sentences end last, on the whole: later batches are narrower too.
        self.real_BS = self.real_BS[index]
        self.memories = [memory.take(index) for memory in self.memories]
        if self.masks is not None:
            self.masks = {site: mask[index] for site, mask in self.masks.items()}


@torch.inference_mode()
def search(
    model: Transformer,
    batch: BatchLayout,
    *,
    eos: int,
    masks: SiteMasks | None = None,
    settings: DecodingSettings,
    follow: Follow = lambda _: None,
) -> list[Hypothesis]:
    """Translate the source side of a padded batch; the best hypothesis of each sentence, in order.

    The first target token of each sentence is its forced tag; the others are not looked at.
    `follow` is called whenever rows are left out. Raises CheckpointError if the model's
    probabilities are no numbers.
    """
    beams = _start(model, batch, eos=eos, masks=masks, settings=settings)
    finished: list[list[Hypothesis]] = [[] for _ in range(len(batch))]
    while len(beams.row_B):
        out_of_room = beams.limit_B <= beams.tokens_BKL.shape[-1]
        score_BKV = _advance(model, beams)
        _forbid(score_BKV, np.flatnonzero(out_of_room), pad=model.pad, eos=eos)
        origin, token, score = _rank(score_BKV)
        _collect(beams, finished, origin, token, score, eos=eos, penalty=settings.length_penalty)
        # A stable sort moves ended candidates behind the others without changing the order.
        alive = np.argsort(token == eos, axis=1, kind="stable")[:, : settings.beam]
        beams.move(*(np.take_along_axis(each, alive, axis=1) for each in (origin, token, score)))
        done = np.array([len(finished[row]) >= settings.beam for row in beams.row_B])
        if (done | out_of_room).any():
            beams.keep(np.flatnonzero(~(done | out_of_room)))
            follow(beams.row_B)
    if not all(finished):
        raise not_numbers()
    return [max(hypotheses, key=lambda one: one.score) for hypotheses in finished]


def _start(
    model: Transformer,
    batch: BatchLayout,
    *,
    eos: int,
    masks: SiteMasks | None,
    settings: DecodingSettings,
) -> _Beams:
    """Encode, and force the tag: one live beam a sentence, the others impossible."""
    count, beam, device = len(batch), settings.beam, batch.source_BS.device
    tag_B1, real_BS = batch.target_out_BT[:, :1], batch.source_real_BS
    memories = model.memories(model.encode(batch, masks))
    cache = DecoderCache(len(memories), sentences=count, device=device)
    first = torch.full_like(tag_B1, eos)
    logits = model.step(first, cache=cache, memories=memories, real_BS=real_BS, masks=masks)
    score_BK = torch.full((count, beam), -torch.inf, device=device)
    score_BK[:, :1] = logits[:, 0].float().log_softmax(-1).gather(1, tag_B1)
    cache.reorder(torch.zeros(count, beam, dtype=torch.int64, device=device))
    length = settings.max_length_factor * real_BS.sum(1) + settings.max_length_extra
    room = model.settings.max_positions - 1
    token_BK = tag_B1.repeat(1, beam)
    return _Beams(
        row_B=np.arange(count),
        limit_B=length.floor().clamp(max=room).to("cpu", torch.int64).numpy(),
        tokens_BKL=token_BK[..., None].cpu().numpy(),
        token_BK=token_BK,
        score_BK=score_BK,
        cache=cache,
        memories=memories,
        real_BS=real_BS,
        masks=masks,
    )


def _advance(model: Transformer, beams: _Beams) -> Tensor:
    """The log-probability of every beam with every next token: [B, K, V]."""
    logits = model.step(
        beams.token_BK,
        cache=beams.cache,
        memories=beams.memories,
        real_BS=beams.real_BS,
        masks=beams.masks,
    ).float()
    # In place: on a CPU, the vocabulary is where a step's memory traffic is.
    return logits.add_(beams.score_BK[..., None] - logits.logsumexp(-1, keepdim=True))


def _forbid(score_BKV: Tensor, full: np.ndarray, *, pad: int, eos: int) -> None:
    """Rule out padding and, in sentences that are `full`, everything but their end; in place."""
    score_BKV[..., pad] = -torch.inf
    if len(full):
        rows = torch.from_numpy(full).to(score_BKV.device, non_blocking=True)
        ended = score_BKV[rows, :, eos]
        score_BKV[rows] = -torch.inf
        score_BKV[rows, :, eos] = ended


def _rank(score_BKV: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The 2K best continuations of each sentence: beam of origin, token and score, [B, 2K]."""
    beam, size = score_BKV.shape[1:]
    score, index = score_BKV.flatten(1).topk(2 * beam, dim=1)
    # Both in one copy: fp64 holds them exactly.
    scores, places = torch.stack((score.double(), index.double())).cpu().numpy()
    flat = places.astype(np.int64)
    return flat // size, flat % size, scores


def _collect(
    beams: _Beams,
    finished: list[list[Hypothesis]],
    origin: np.ndarray,
    token: np.ndarray,
    score: np.ndarray,
    *,
    eos: int,
    penalty: float,
) -> None:
    """Take the hypotheses that end among the first K candidates."""
    beam = beams.score_BK.shape[1]
    ends = (token[:, :beam] == eos) & np.isfinite(score[:, :beam])
    length = beams.tokens_BKL.shape[-1] + 1
    for place, rank in np.argwhere(ends).tolist():
        hypotheses = finished[beams.row_B[place]]
        if len(hypotheses) < beam:
            tokens = beams.tokens_BKL[place, origin[place, rank], 1:].tolist()
            hypotheses.append(Hypothesis(tokens, float(score[place, rank]) / length**penalty))
