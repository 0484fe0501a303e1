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

from nsmt.errors import CheckpointError
from nsmt.models.attention import KeyValues
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
    past: list[KeyValues | None]
    memories: list[KeyValues]
    real_BS: Tensor
    masks: SiteMasks | None

    def keep(self, going_B: Tensor) -> None:
        """Drop the sentences that are done from every tensor."""
        beams = self.score_BK.shape[1]
        rows = going_B.nonzero()[:, 0]
        flat = (rows[:, None] * beams + torch.arange(beams, device=rows.device)).flatten()
        self.row_B, self.limit_B = self.row_B[rows], self.limit_B[rows]
        self.score_BK, self.tokens_BKL = self.score_BK[rows], self.tokens_BKL[rows]
        self.real_BS = self.real_BS[rows]
        for memory in self.memories:
            memory.reorder(rows)
        for past in self.past:
            if past is not None:
                past.reorder(flat)
        if self.masks is not None:
            self.masks = {site: mask[rows] for site, mask in self.masks.items()}


@torch.inference_mode()
def search(
    model: Transformer,
    source_BS: Tensor,
    real_BS: Tensor,
    *,
    tag_B: Tensor,
    eos: int,
    masks: SiteMasks | None = None,
    settings: DecodingSettings,
) -> list[Hypothesis]:
    """Translate framed source tokens; the best hypothesis of each sentence, in order.

    Raises CheckpointError if the model's probabilities are no numbers.
    """
    beams = _start(model, source_BS, real_BS, tag_B=tag_B, eos=eos, masks=masks, settings=settings)
    finished: list[list[Hypothesis]] = [[] for _ in range(len(source_BS))]
    while len(beams.row_B):
        log_probability_BKV = _advance(model, beams)
        log_probability_BKV[..., model.pad] = -torch.inf
        length = beams.tokens_BKL.shape[-1]
        out_of_room = beams.limit_B <= length
        ended = log_probability_BKV[..., eos].clone()
        log_probability_BKV[out_of_room] = -torch.inf
        log_probability_BKV[..., eos] = ended
        origin, token, score = _rank(beams, log_probability_BKV)
        _collect(beams, finished, origin, token, score, eos=eos, penalty=settings.length_penalty)
        _extend(beams, origin, token, score, eos=eos)
        done = [len(finished[row]) >= settings.beam for row in beams.row_B.tolist()]
        going = ~(torch.tensor(done, device=out_of_room.device) | out_of_room)
        if not bool(going.all()):
            beams.keep(going)
    if not all(finished):
        raise CheckpointError(
            "the model's probabilities are no numbers: its training diverged",
            fix="train it again with a lower learning rate, or in fp32",
        )
    return [max(hypotheses, key=lambda one: one.score) for hypotheses in finished]


def _start(
    model: Transformer,
    source_BS: Tensor,
    real_BS: Tensor,
    *,
    tag_B: Tensor,
    eos: int,
    masks: SiteMasks | None,
    settings: DecodingSettings,
) -> _Beams:
    """Encode, and force the tag: one live beam a sentence, the others impossible."""
    batch, beam = len(source_BS), settings.beam
    memories = model.memories(model.encode(source_BS, real_BS, masks))
    past: list[KeyValues | None] = [None] * len(memories)
    first = torch.full((batch, 1), eos, device=source_BS.device)
    logits = model.step(first, 0, past=past, memories=memories, real_BS=real_BS, masks=masks)
    tag_score = logits.float().log_softmax(-1).gather(1, tag_B[:, None])
    score_BK = torch.full((batch, beam), -torch.inf, device=source_BS.device)
    score_BK[:, :1] = tag_score
    copies = torch.arange(batch, device=source_BS.device).repeat_interleave(beam)
    for layer in past:
        if layer is not None:
            layer.reorder(copies)
    length = settings.max_length_factor * real_BS.sum(1) + settings.max_length_extra
    room = model.settings.max_positions - 1
    return _Beams(
        row_B=torch.arange(batch, device=source_BS.device),
        limit_B=length.floor().clamp(max=room).to(torch.int64),
        score_BK=score_BK,
        tokens_BKL=tag_B[:, None, None].repeat(1, beam, 1),
        past=past,
        memories=memories,
        real_BS=real_BS,
        masks=masks,
    )


def _advance(model: Transformer, beams: _Beams) -> Tensor:
    """Log-probabilities of the next token of every beam: [B, K, V]."""
    position = beams.tokens_BKL.shape[-1]
    logits = model.step(
        beams.tokens_BKL[..., -1].reshape(-1, 1),
        position,
        past=beams.past,
        memories=beams.memories,
        real_BS=beams.real_BS,
        masks=beams.masks,
    )
    return logits.float().log_softmax(-1).view(*beams.score_BK.shape, -1)


def _rank(beams: _Beams, log_probability_BKV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The 2K best continuations of each sentence: beam of origin, token and score, [B, 2K]."""
    size = log_probability_BKV.shape[-1]
    total = (beams.score_BK[..., None] + log_probability_BKV).flatten(1)
    score, index = total.topk(2 * beams.score_BK.shape[1], dim=1)
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
    batch, beam = beams.score_BK.shape
    # A stable sort moves ended candidates behind the others without changing the order.
    alive = (token == eos).to(torch.int8).sort(dim=1, stable=True).indices[:, :beam]
    origin, token, score = (each.gather(1, alive) for each in (origin, token, score))
    beams.score_BK = score
    chosen = origin[..., None].expand(-1, -1, beams.tokens_BKL.shape[-1])
    beams.tokens_BKL = torch.cat((beams.tokens_BKL.gather(1, chosen), token[..., None]), dim=-1)
    flat = (torch.arange(batch, device=origin.device)[:, None] * beam + origin).flatten()
    for past in beams.past:
        if past is not None:
            past.reorder(flat)
