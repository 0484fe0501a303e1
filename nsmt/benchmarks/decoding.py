"""Beam search beside Hugging Face's and CTranslate2's, with the same weights on the same text.

Random weights decode to no purpose, so a model is trained for some updates before.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from nsmt.benchmarks.peers import present
from nsmt.benchmarks.peers.ctranslate2 import CTranslate2
from nsmt.benchmarks.peers.m2m100 import m2m100_of
from nsmt.benchmarks.steps import own_step
from nsmt.benchmarks.timing import Figures, in_turns, ratio
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.evaluation.translation import translate
from nsmt.languages import Direction
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.decoding import DecodingSettings
from nsmt.models.flops import TokenCounts, forward_flops
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.progress import progress_bar
from nsmt.training.throughput import matrix_rate

# From framed rows of a batch, longest first, and a limit of tokens to pieces without their frame.
Translated = Callable[[list[list[int]], int], list[list[int]]]


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
    rounds: int,
    peer_batches: tuple[int, ...],
    device: str,
) -> Figures:
    """Seconds, tokens a second and agreement of all, in turns; each peer at its best batch size."""
    trained = _trained(corpus, model, batch, updates=updates, device=device)
    direction = corpus.directions[0]
    lines = corpus.texts(direction, "test")[0][:sentences]
    task = _Task(trained, direction, lines, decoding)
    product = matrix_rate(device, torch.float32)
    texts: dict[str, list[str]] = {}
    peers = _peers(task, device=device)
    contestants = {
        name: partial(_keep, texts, name, translated)
        for name, translated in _contestants(task, peers, peer_batches, device=device).items()
    }
    took = in_turns(contestants, rounds, device=device, warm_up=0)
    seconds = {name: statistics.median(each) for name, each in took.items()}
    lengths = {name: _lengths(task, each) for name, each in texts.items()}
    found: Figures = {
        "sentences": float(len(lines)),
        "product_gflops": product / 1e9,
        "ours_over_roofline_seconds": seconds["ours"]
        / (_least_flops(task, lengths["ours"]) / product),
    }
    for name, each in seconds.items():
        found[f"{name}_seconds"] = each
        found[f"{name}_tokens_per_second"] = sum(lengths[name]) / each
    for peer in peers:
        best = min((f"{peer}_batch_{size}" for size in peer_batches), key=lambda it: seconds[it])
        found[f"{peer}_over_ours_seconds"] = ratio(took[best], took["ours"])
        same = sum(one == other for one, other in zip(texts["ours"], texts[best], strict=True))
        found[f"{peer}_equal_translations"] = same / len(lines)
    return found


def _contestants(
    task: _Task, peers: dict[str, Translated], peer_batches: tuple[int, ...], *, device: str
) -> dict[str, Callable[[], list[str]]]:
    """Ours as it translates a test set, and each peer with batches of each size."""

    def ours() -> list[str]:
        lines = {task.direction: task.lines}
        found = translate(task.trained, lines, decoding=task.decoding, device=device)
        return found[task.direction]

    theirs = {
        f"{name}_batch_{size}": partial(task.in_batches, size, translated)
        for name, translated in peers.items()
        for size in peer_batches
    }
    return {"ours": ours, **theirs}


def _keep(texts: dict[str, list[str]], name: str, translated: Callable[[], list[str]]) -> None:
    texts[name] = translated()


def _lengths(task: _Task, texts: list[str]) -> list[int]:
    """Tokens of translations, whoever made them; the tag and </s> are decoded too."""
    return [len(ids) + 2 for ids in task.trained.vocabulary.encode(texts)]


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
    found: dict[str, Translated] = {}
    if (peer := present(lambda: m2m100_of(model, eos=eos))) is not None:
        found["m2m100"] = partial(_generated, peer.eval(), task)
    for kind in ("float32", "int8"):
        make = partial(CTranslate2, model, eos=eos, compute_type=kind, device=device)
        if (engine := present(make)) is not None:
            translate_rows = partial(engine.translate, tag=tag, settings=task.decoding)
            found[f"ctranslate2_{kind}"] = translate_rows
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
    step = own_step(model, masks=None, reduced=True, device=device, learning_rate=5e-4)
    with progress_bar() as bar:
        task = bar.add_task("train a model to decode with", total=updates, status="")
        for read in itertools.islice(iter(data.train_dataloader()), updates):
            step(read.to(device))
            bar.advance(task)
    return TrainedModel(model.eval(), vocabulary, list(corpus.directions))
