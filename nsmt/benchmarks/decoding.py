"""Beam search beside Hugging Face's, with the same weights on the same sentences.

Random weights decode to no purpose, so a model is trained for some updates before.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import torch

from nsmt.benchmarks.peers.m2m100 import m2m100_of
from nsmt.benchmarks.timing import Figures
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.evaluation.translation import translate
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.decoding import DecodingSettings
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.progress import progress_bar
from nsmt.training.throughput import synchronise


def bench_decode(
    corpus: Corpus,
    model: ModelSettings,
    batch: BatchSettings,
    decoding: DecodingSettings,
    *,
    sentences: int,
    updates: int,
    peer_batches: tuple[int, ...],
    device: str,
) -> Figures:
    """Seconds, tokens a second and agreement of both; the peer at its best batch size."""
    trained = _trained(corpus, model, batch, updates=updates, device=device)
    direction = corpus.directions[0]
    lines = corpus.texts(direction, "test")[0][:sentences]
    found, ours, texts = _own(trained, direction, lines, decoding, device=device)
    peer = m2m100_of(trained.model, eos=corpus.vocabulary.eos).eval()
    best = float("inf")
    with progress_bar() as bar:
        task = bar.add_task("Hugging Face", total=len(peer_batches), status="")
        for size in peer_batches:
            start = time.perf_counter()
            theirs = _theirs(peer, trained, direction, lines, decoding, size=size)
            synchronise(device)
            seconds = time.perf_counter() - start
            found[f"m2m100_batch_{size}_seconds"] = seconds
            best = min(best, seconds)
            bar.advance(task)
    same = sum(one == other for one, other in zip(texts, theirs, strict=True))
    return found | {
        "m2m100_over_ours_seconds": best / ours,
        "equal_translations": same / len(lines),
    }


def _own(
    trained: TrainedModel,
    direction: Direction,
    lines: list[str],
    decoding: DecodingSettings,
    *,
    device: str,
) -> tuple[Figures, float, list[str]]:
    start = time.perf_counter()
    texts = translate(trained, {direction: lines}, decoding=decoding, device=device)[direction]
    synchronise(device)
    seconds = time.perf_counter() - start
    # The tag and </s> are decoded too.
    tokens = sum(len(ids) + 2 for ids in trained.vocabulary.encode(texts))
    found = {
        "sentences": float(len(lines)),
        "tokens": float(tokens),
        "ours_seconds": seconds,
        "ours_tokens_per_second": tokens / seconds,
    }
    return found, seconds, texts


def _theirs(
    peer: Any,  # noqa: ANN401 -- an untyped library
    trained: TrainedModel,
    direction: Direction,
    lines: list[str],
    decoding: DecodingSettings,
    *,
    size: int,
) -> list[str]:
    """`generate` over batches sorted by length, with the rules of our own search."""
    vocabulary = trained.vocabulary
    tag, eos = vocabulary.tag(direction.source), vocabulary.eos
    queue = sorted(enumerate(vocabulary.encode(lines)), key=lambda entry: -len(entry[1]))
    texts = [""] * len(lines)
    for start in range(0, len(queue), size):
        members = queue[start : start + size]
        longest = len(members[0][1]) + 2
        rows = [
            [tag, *ids, eos] + [vocabulary.pad] * (longest - len(ids) - 2) for _, ids in members
        ]
        source = torch.tensor(rows, device=peer.device)
        limit = int(decoding.max_length_factor * longest) + decoding.max_length_extra
        with torch.inference_mode():
            output = peer.generate(
                input_ids=source,
                attention_mask=(source != vocabulary.pad).long(),
                num_beams=decoding.beam,
                do_sample=False,
                early_stopping=True,
                length_penalty=decoding.length_penalty,
                forced_bos_token_id=vocabulary.tag(direction.target),
                max_new_tokens=min(limit, trained.model.settings.max_positions - 1),
            )
        for (place, _), ids in zip(members, output.tolist(), strict=True):
            # </s>, the tag, the pieces, </s> and padding.
            pieces = itertools.takewhile(lambda token: token != eos, ids[2:])
            texts[place] = vocabulary.decode([list(pieces)])[0]
    return texts


def _trained(
    corpus: Corpus, settings: ModelSettings, batch: BatchSettings, *, updates: int, device: str
) -> TrainedModel:
    torch.manual_seed(0)
    vocabulary = corpus.vocabulary
    model = Transformer(settings, vocabulary_size=vocabulary.size, pad=vocabulary.pad).to(device)
    data = TranslationData(
        corpus, batch=batch, temperature=1.0, seed=0, directions=corpus.directions[:1]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-4, fused=True)
    with progress_bar() as bar:
        task = bar.add_task("train a model to decode with", total=updates, status="")
        for read in itertools.islice(iter(data.train_dataloader()), updates):
            each = read.to(device)
            with torch.autocast(device, dtype=torch.bfloat16):
                loss, nll = smoothed_cross_entropy(
                    each.counted(model(each)),
                    model.output.weight,
                    each.counted(each.target_out_BT),
                    smoothing=0.1,
                )
            (loss / len(each.counted_N)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            bar.update(task, advance=1, status=f"nll {nll.item() / len(each.counted_N):.2f}")
    return TrainedModel(model.eval(), vocabulary, list(corpus.directions))
