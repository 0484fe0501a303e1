"""What a trained model makes of a test set: translations, and likelihoods of the references.

Sentences of all directions share batches, sorted by length; each is read with its own direction's
masks. Results come back in the order of the test set and do not depend on the batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nsmt.data.corpus import TokenTable
from nsmt.data.datamodule import TableReader, sequence_format
from nsmt.data.plan import BatchSettings, in_order
from nsmt.errors import DataError
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.decoding import DecodingSettings, search
from nsmt.models.linear import packed_weights
from nsmt.models.loss import token_nll
from nsmt.models.masks import Permits
from nsmt.steering.translation_models import DirectionRows, Steering, steered_directions

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Sentence:
    direction: int
    place: int
    pieces: np.ndarray


def translate(
    trained: TrainedModel,
    sources: Mapping[Direction, Sequence[str]],
    *,
    decoding: DecodingSettings,
    device: torch.device | str = "cpu",
    steering: Steering | None = None,
    advance: Advance = lambda _: None,
) -> dict[Direction, list[str]]:
    """Translate the sentences of each direction; `advance` hears of finished sentences.

    With `steering`, under its interventions. A sentence of more pieces than the model has positions
    is a DataError.
    """
    trained.model.to(device).eval()
    directions = list(sources)
    masks = _masks(trained, directions, device)
    found = {direction: [""] * len(lines) for direction, lines in sources.items()}
    with (
        packed_weights(trained.model),
        steered_directions(trained.model, directions, steering) as rows,
    ):
        for members in _batched(_longest_first(trained, sources), decoding.batch_sentences):
            texts = _translate_batch(
                trained, members, directions, rows, masks=masks, decoding=decoding, device=device
            )
            for sentence, text in zip(members, texts, strict=True):
                found[directions[sentence.direction]][sentence.place] = text
            advance(len(members))
    return found


def _longest_first(
    trained: TrainedModel, sources: Mapping[Direction, Sequence[str]]
) -> list[_Sentence]:
    queue = [
        _Sentence(row, place, np.asarray(ids, dtype=np.int64))
        for row, lines in enumerate(sources.values())
        for place, ids in enumerate(trained.vocabulary.encode(list(lines)))
    ]
    queue.sort(key=lambda sentence: -len(sentence.pieces))
    room = trained.model.settings.max_positions - 2
    if queue and len(queue[0].pieces) > room:
        worst = queue[0]
        raise DataError(
            f"sentence {worst.place + 1} of {list(sources)[worst.direction]} has "
            f"{len(worst.pieces)} pieces, the model reads {room}",
            fix="shorten or split the sentence",
        )
    return queue


def _batched(queue: Sequence[_Sentence], size: int) -> Iterator[Sequence[_Sentence]]:
    for start in range(0, len(queue), size):
        yield queue[start : start + size]


def _translate_batch(
    trained: TrainedModel,
    members: Sequence[_Sentence],
    directions: Sequence[Direction],
    steered: DirectionRows,
    *,
    masks: Permits | None,
    decoding: DecodingSettings,
    device: torch.device | str,
) -> list[str]:
    vocabulary = trained.vocabulary
    # The target side of a batch to translate holds the forced tag alone.
    batch = (
        sequence_format(vocabulary)
        .collate(
            [sentence.pieces for sentence in members],
            [np.empty(0, dtype=np.int64)] * len(members),
            [directions[sentence.direction] for sentence in members],
            rows=[sentence.direction for sentence in members],
        )
        .to(device)
    )
    steered.observe(batch)
    hypotheses = search(
        trained.model,
        batch,
        eos=vocabulary.eos,
        masks=None if masks is None else masks(batch),
        settings=decoding,
        follow=steered.keep,
    )
    return vocabulary.decode([hypothesis.tokens for hypothesis in hypotheses])


@torch.inference_mode()
def likelihoods(
    trained: TrainedModel,
    tables: Mapping[Direction, TokenTable],
    *,
    tokens: int,
    device: torch.device | str = "cpu",
    steering: Steering | None = None,
    advance: Advance = lambda _: None,
) -> dict[Direction, tuple[np.ndarray, np.ndarray]]:
    """The negative log-likelihood (nats, tag and </s> included) and tokens of each reference.

    Two arrays a direction, in table order: float64 and int64 [sentences]. `advance` hears of
    finished sentences.
    """
    model = trained.model.to(device).eval()
    masks = _masks(trained, list(tables), device)
    reader = TableReader(tables, sequence_format(trained.vocabulary))
    sums = [(np.zeros(len(each)), np.zeros(len(each), np.int64)) for each in tables.values()]
    with steered_directions(model, list(tables), steering) as steered:
        for planned in in_order(tables, BatchSettings(tokens=tokens)):
            batch = reader.read(planned).to(device)
            steered.observe(batch)
            hidden_BTD = model(batch, None if masks is None else masks(batch))
            nll_N = token_nll(
                batch.counted(hidden_BTD), model.output.weight, batch.counted(batch.target_out_BT)
            )
            nll_BT = torch.zeros_like(batch.target_out_BT, dtype=torch.float64)
            nll_BT.view(-1)[batch.counted_N] = nll_N.double()
            nll_B = nll_BT.sum(1).cpu().numpy()
            length_B = batch.target_real_BT.sum(1).cpu().numpy()
            for place, (row, sentence) in enumerate(
                zip(planned.direction.tolist(), planned.row.tolist(), strict=True)
            ):
                sums[row][0][sentence] = nll_B[place]
                sums[row][1][sentence] = length_B[place]
            advance(len(planned.row))
    return dict(zip(tables, sums, strict=True))


def _masks(
    trained: TrainedModel, directions: Sequence[Direction], device: torch.device | str
) -> Permits | None:
    masks = trained.masks(directions)
    return None if masks is None else masks.to(device)
