"""Beam search beside Hugging Face's and CTranslate2's, with the same weights on the same text.

Random weights decode to no purpose, so a model is trained for some updates before.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from nsmt.benchmarks.peers.ctranslate2 import CTranslate2
from nsmt.benchmarks.peers.m2m100 import m2m100_of
from nsmt.benchmarks.timing import Figures
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.evaluation.translation import translate
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.decoding import DecodingSettings
from nsmt.models.flops import TokenCounts, forward_flops
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.progress import progress_bar
from nsmt.training.throughput import matrix_rate, synchronise

# From framed rows of a batch, longest first, and a limit of tokens to pieces without their frame.
Translated = Callable[[list[list[int]], int], list[list[int]]]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Task:
    """The sentences of one direction, and how to search."""

    trained: TrainedModel
    direction: Direction
    lines: list[str]
    decoding: DecodingSettings

    def in_batches(self, size: int, translated: Translated) -> list[str]:
        """Translate with a peer, sorted by length; it gets framed rows and a limit of tokens."""
        vocabulary = self.trained.vocabulary
        tag, eos = vocabulary.tag(self.direction.source), vocabulary.eos
        queue = sorted(enumerate(vocabulary.encode(self.lines)), key=lambda each: -len(each[1]))
        texts = [""] * len(self.lines)
        for start in range(0, len(queue), size):
            members = queue[start : start + size]
            rows = [[tag, *ids, eos] for _, ids in members]
            limit = int(self.decoding.max_length_factor * len(rows[0]))
            limit += self.decoding.max_length_extra
            limit = min(limit, self.trained.model.settings.max_positions - 1)
            for (place, _), ids in zip(members, translated(rows, limit), strict=True):
                texts[place] = vocabulary.decode([ids])[0]
        return texts


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
    """Seconds, tokens a second and agreement of all; each peer at its best batch size."""
    trained = _trained(corpus, model, batch, updates=updates, device=device)
    direction = corpus.directions[0]
    lines = corpus.texts(direction, "test")[0][:sentences]
    task = _Task(trained, direction, lines, decoding)
    product = matrix_rate(device, torch.float32)
    start = time.perf_counter()
    texts = translate(trained, {direction: lines}, decoding=decoding, device=device)[direction]
    synchronise(device)
    ours = time.perf_counter() - start
    # The tag and </s> are decoded too.
    lengths = [len(ids) + 2 for ids in trained.vocabulary.encode(texts)]
    least = _least_flops(task, lengths) / product
    found = {
        "sentences": float(len(lines)),
        "tokens": float(sum(lengths)),
        "ours_seconds": ours,
        "ours_tokens_per_second": sum(lengths) / ours,
        "product_gflops": product / 1e9,
        "ours_over_roofline_seconds": ours / least,
    }
    peers = _peers(task, device=device)
    with progress_bar() as bar:
        shown = bar.add_task("peers", total=len(peers) * len(peer_batches), status="")
        for name, translated in peers.items():
            best = float("inf")
            for size in peer_batches:
                bar.update(shown, status=f"{name}, batches of {size}")
                theirs, seconds = _seconds(partial(task.in_batches, size, translated), device)
                found[f"{name}_batch_{size}_seconds"] = seconds
                best = min(best, seconds)
                bar.advance(shown)
            found[f"{name}_over_ours_seconds"] = best / ours
            same = sum(one == other for one, other in zip(texts, theirs, strict=True))
            found[f"{name}_equal_translations"] = same / len(lines)
    return found


def _seconds(function: Callable[[], _T], device: str) -> tuple[_T, float]:
    start = time.perf_counter()
    found = function()
    synchronise(device)
    return found, time.perf_counter() - start


def _least_flops(task: _Task, lengths: list[int]) -> float:
    """Reading every sentence once, and one decoder step a token of every beam."""
    model, vocabulary = task.trained.model.settings, task.trained.vocabulary.size
    source = [len(ids) + 2 for ids in task.trained.vocabulary.encode(task.lines)]
    beam = task.decoding.beam
    pairs = list(zip(source, lengths, strict=True))
    tokens = TokenCounts(
        source=sum(source),
        target=beam * sum(lengths),
        source_squared=sum(each * each for each in source),
        target_squared=beam * sum(each * each for each in lengths),
        crossed=beam * sum(one * other for one, other in pairs),
    )
    return forward_flops(model, vocabulary=vocabulary, tokens=tokens)


def _peers(task: _Task, *, device: str) -> dict[str, Translated]:
    model, eos = task.trained.model, task.trained.vocabulary.eos
    tag = task.trained.vocabulary.tag(task.direction.target)
    found: dict[str, Translated] = {
        "m2m100": partial(_generated, m2m100_of(model, eos=eos).eval(), task)
    }
    for kind in ("float32", "int8"):
        engine = CTranslate2(model, eos=eos, compute_type=kind, device=device)
        found[f"ctranslate2_{kind}"] = partial(engine.translate, tag=tag, settings=task.decoding)
    return found


def _generated(
    peer: Any,  # noqa: ANN401 -- an untyped library
    task: _Task,
    rows: list[list[int]],
    limit: int,
) -> list[list[int]]:
    """Hugging Face's `generate`, with the rules of our own search."""
    vocabulary = task.trained.vocabulary
    longest = max(map(len, rows))
    padded = [row + [vocabulary.pad] * (longest - len(row)) for row in rows]
    source = torch.tensor(padded, device=peer.device)
    with torch.inference_mode():
        output = peer.generate(
            input_ids=source,
            attention_mask=(source != vocabulary.pad).long(),
            num_beams=task.decoding.beam,
            do_sample=False,
            early_stopping=True,
            length_penalty=task.decoding.length_penalty,
            forced_bos_token_id=vocabulary.tag(task.direction.target),
            max_new_tokens=limit,
        )
    # </s>, the tag, the pieces, </s> and padding.
    return [
        list(itertools.takewhile(lambda token: token != vocabulary.eos, row[2:]))
        for row in output.tolist()
    ]


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
