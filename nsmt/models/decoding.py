"""Beam search with a key/value cache over batches that may mix directions; beam 1 is greedy.

The rules are fairseq's, which the papers decode with: the target tag is forced and its probability
counted; each step ranks 2 x beam candidates; `</s>` ends a hypothesis only from among the first
`beam` of them; a sentence is done when `beam` hypotheses ended; a score is the sum of natural-log
probabilities, tag and `</s>` included, divided by length^length_penalty. Different from fairseq,
the length limit is that of each sentence, so that a translation does not depend on its batch.

Shape suffixes: B sentences still decoding, K beams, S source positions, L tokens so far, V pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from nsmt.data.batch import BatchLayout
from nsmt.errors import CheckpointError
from nsmt.models.attention import KeyValues
from nsmt.models.cache import DecoderCache
from nsmt.models.masks import SiteMasks
from nsmt.models.transformer import Transformer
from nsmt.settings import Settings


class DecodingSettings(Settings):
    """How to search; the paper's values are the defaults."""

    beam: Annotated[int, Field(ge=1)] = 5
    length_penalty: float = 1.0
    max_length_factor: Annotated[float, Field(ge=0)] = 0.0
    max_length_extra: Annotated[int, Field(ge=1)] = 200
    batch_sentences: Annotated[int, Field(ge=1)] = 64


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A finished translation without its tag and `</s>`, and its normalised log-probability."""

    tokens: list[int]
    score: float


@dataclass(slots=True)
class _Beams:
    """The sentences still decoding; `row_B` says which sentence of the batch each is."""

    row_B: Tensor
    limit_B: Tensor
    score_BK: Tensor
    tokens_BKL: Tensor
    cache: DecoderCache
    memories: list[KeyValues]
    real_BS: Tensor
    masks: SiteMasks | None

    def keep(self, rows: Tensor) -> None:
        """Go on with some sentences only."""
        self.row_B, self.limit_B = self.row_B[rows], self.limit_B[rows]
        self.score_BK, self.tokens_BKL = self.score_BK[rows], self.tokens_BKL[rows]
        self.cache.take(rows)
        # The longest sentences end last, on the whole: later batches are narrower too.
        self.real_BS = self.real_BS[rows]
        self.memories = [memory.take(rows) for memory in self.memories]
        if self.masks is not None:
            self.masks = {site: mask[rows] for site, mask in self.masks.items()}


@torch.inference_mode()
def search(
    model: Transformer,
    batch: BatchLayout,
    *,
    eos: int,
    masks: SiteMasks | None = None,
    settings: DecodingSettings,
) -> list[Hypothesis]:
    """Translate the source side of a padded batch; the best hypothesis of each sentence, in order.

    The first target token of each sentence is its forced tag; the others are not looked at. Raises
    CheckpointError if the model's probabilities are no numbers.
    """
    beams = _start(model, batch, eos=eos, masks=masks, settings=settings)
    finished: list[list[Hypothesis]] = [[] for _ in range(len(batch))]
    while len(beams.row_B):
        score_BKV = _advance(model, beams)
        score_BKV[..., model.pad] = -torch.inf
        out_of_room = beams.limit_B <= beams.tokens_BKL.shape[-1]
        if bool(out_of_room.any()):
            ended = score_BKV[..., eos].clone()
            score_BKV[out_of_room] = -torch.inf
            score_BKV[..., eos] = ended
        origin, token, score = _rank(beams, score_BKV)
        _collect(beams, finished, origin, token, score, eos=eos, penalty=settings.length_penalty)
        _extend(beams, origin, token, score, eos=eos)
        done = [len(finished[row]) >= settings.beam for row in beams.row_B.tolist()]
        going = ~(torch.tensor(done, device=out_of_room.device) | out_of_room)
        if not bool(going.all()):
            beams.keep(going.nonzero()[:, 0])
    if not all(finished):
        raise CheckpointError(
            "the model's probabilities are no numbers: its training diverged",
            fix="train it again with a lower learning rate, or in fp32",
        )
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
    return _Beams(
        row_B=torch.arange(count, device=device),
        limit_B=length.floor().clamp(max=room).to(torch.int64),
        score_BK=score_BK,
        tokens_BKL=tag_B1[:, None].repeat(1, beam, 1),
        cache=cache,
        memories=memories,
        real_BS=real_BS,
        masks=masks,
    )


def _advance(model: Transformer, beams: _Beams) -> Tensor:
    """The log-probability of every beam with every next token: [B, K, V]."""
    logits = model.step(
        beams.tokens_BKL[..., -1],
        cache=beams.cache,
        memories=beams.memories,
        real_BS=beams.real_BS,
        masks=beams.masks,
    ).float()
    # In place: on a CPU, the vocabulary is where a step's memory traffic is.
    return logits.add_(beams.score_BK[..., None] - logits.logsumexp(-1, keepdim=True))


def _rank(beams: _Beams, score_BKV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2K best continuations of each sentence: beam of origin, token and score, [B, 2K]."""
    size = score_BKV.shape[-1]
    score, index = score_BKV.flatten(1).topk(2 * beams.score_BK.shape[1], dim=1)
    return index // size, index % size, score


def _collect(
    beams: _Beams,
    finished: list[list[Hypothesis]],
    origin: Tensor,
    token: Tensor,
    score: Tensor,
    *,
    eos: int,
    penalty: float,
) -> None:
    """Take the hypotheses that end among the first K candidates."""
    beam = beams.score_BK.shape[1]
    ends = (token[:, :beam] == eos) & score[:, :beam].isfinite()
    length = beams.tokens_BKL.shape[-1] + 1
    for place, rank in ends.nonzero().tolist():
        hypotheses = finished[int(beams.row_B[place])]
        if len(hypotheses) < beam:
            tokens = beams.tokens_BKL[place, origin[place, rank], 1:].tolist()
            hypotheses.append(Hypothesis(tokens, score[place, rank].item() / length**penalty))


def _extend(beams: _Beams, origin: Tensor, token: Tensor, score: Tensor, *, eos: int) -> None:
    """Go on with the best K candidates that did not end."""
    beam = beams.score_BK.shape[1]
    # A stable sort moves ended candidates behind the others without changing the order.
    alive = (token == eos).to(torch.int8).sort(dim=1, stable=True).indices[:, :beam]
    origin, token, score = (each.gather(1, alive) for each in (origin, token, score))
    beams.score_BK = score
    chosen = origin[..., None].expand(-1, -1, beams.tokens_BKL.shape[-1])
    beams.tokens_BKL = torch.cat((beams.tokens_BKL.gather(1, chosen), token[..., None]), dim=-1)
    beams.cache.reorder(origin)
