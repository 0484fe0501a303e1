"""Benchmarks of preparation and of reading what was prepared, on text recombined from real text."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from nsmt.data.blocks import clean_pairs, cleaned_pair, texts
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.encode import CleanBlock, encode_block
from nsmt.data.plan import BatchSettings
from nsmt.data.prepare import prepare
from nsmt.data.settings import SplitSettings, VocabularySettings
from nsmt.data.sources import DataSettings, make_source
from nsmt.data.sources.files import FilesSettings
from nsmt.data.tally import Tally
from nsmt.data.workers import Workers, available_cores
from nsmt.languages import Direction
from nsmt.models.loss import smoothed_cross_entropy
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer

# Prepares the corpus of the settings given; seconds and peaks of memory as JSON.
_PREPARING = """
import json, re, resource, sys, time
from pathlib import Path
import nsmt.commands.train  # what `nsmt prepare` has in memory
from nsmt.data.prepare import prepare
from nsmt.data.sources.files import FilesSettings
settings, folder = FilesSettings.model_validate_json(sys.argv[1]), Path(sys.argv[2])
begun = time.perf_counter()
prepare(settings, corpora=folder, downloads=folder, progress=False)
seconds = time.perf_counter() - begun
peak = re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())
worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
found = {"seconds": seconds, "peak_mib": int(peak[1]) / 1024, "worker_peak_mib": worker / 1024}
print(json.dumps(found))
"""
# Reads many batches in a process of its own; what that added to its memory, at its peak.
_READING = """
import json, re, sys
from itertools import islice
from pathlib import Path
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
def resident():
    found = dict(re.findall(r"(Rss[AF]\\w+):\\s*(\\d+)", Path("/proc/self/status").read_text()))
    return {"own": int(found["RssAnon"]) / 1024, "mapped": int(found["RssFile"]) / 1024}
before, most = resident(), {"own": 0.0, "mapped": 0.0}
batch = BatchSettings.model_validate_json(sys.argv[2])
corpus = Corpus.open(Path(sys.argv[1]))
data = TranslationData(corpus, batch=batch, temperature=1.0, seed=0)
for number, _ in enumerate(islice(iter(data.train_dataloader()), 4000)):
    if number % 10 == 0:
        most = {kind: max(most[kind], value - before[kind]) for kind, value in resident().items()}
print(json.dumps({f"reading_adds_{kind}_mib": value for kind, value in most.items()}))
"""
_BATCHES = 200
_STEPS = 5


def write_text(settings: DataSettings, *, pairs: int, downloads: Path, folder: Path) -> Direction:
    """Write `pairs` sentence pairs, each the beginning of one real pair and the end of another."""
    source = make_source(settings)
    source.settle(downloads)
    source.fetch(downloads)
    pair = settings.parsed_pairs[0]
    rows = [(a.split(), b.split()) for a, b in source.read(pair, "train") if a and b]
    rng = random.Random(0)
    names = (folder / f"train.{pair}.{code}" for code in (pair.source, pair.target))
    first, second = (name.open("w", encoding="utf-8") for name in names)
    with first, second:
        for _ in range(pairs):
            begin, end, where = rng.choice(rows), rng.choice(rows), rng.random()
            for side, file in enumerate((first, second)):
                head, tail = begin[side], end[side]
                words = head[: max(1, int(len(head) * where))] + tail[int(len(tail) * where) :]
                file.write(f"{' '.join(words)}\n")
    return pair


def own_settings(folder: Path, pair: Direction, *, vocabulary: VocabularySettings) -> FilesSettings:
    """The corpus of the text written."""
    return FilesSettings(
        source="files",
        root=str(folder),
        pairs=(str(pair),),
        split=SplitSettings(valid=0.001, test=0.001),
        vocabulary=vocabulary,
    )


def bench_prepare(settings: DataSettings, *, pairs: int, downloads: Path) -> dict[str, float]:
    """Speed and memory of preparing `pairs`, and tokenisation against bare SentencePiece."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pair = write_text(settings, pairs=pairs, downloads=downloads, folder=folder)
        own = own_settings(folder, pair, vocabulary=settings.vocabulary)
        # In a process of its own, for its peak of memory.
        done = subprocess.run(  # noqa: S603 -- our own code
            [sys.executable, "-c", _PREPARING, own.model_dump_json(), scratch],
            check=True,
            capture_output=True,
            text=True,
        )
        found: dict[str, float] = json.loads(done.stdout)
        cores = available_cores()
        found["pairs_per_minute_and_core"] = pairs / found["seconds"] * 60 / cores
        corpus = Corpus.open(next(folder.glob("files-*")))
        begun = time.perf_counter()
        Corpus.open(corpus.folder).table(pair, "train")
        found["open_seconds"] = time.perf_counter() - begun
        found["tokenise_ratio"] = _tokenisation(own, corpus, folder=folder)
        return found


def bench_load(
    settings: DataSettings,
    model: ModelSettings,
    batch: BatchSettings,
    *,
    pairs: int,
    downloads: Path,
) -> dict[str, float]:
    """How much faster batches come than a training step uses them, and what reading them takes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pair = write_text(settings, pairs=pairs, downloads=downloads, folder=folder)
        own = own_settings(folder, pair, vocabulary=settings.vocabulary)
        corpus = prepare(own, corpora=folder, downloads=downloads, progress=False)
        done = subprocess.run(  # noqa: S603 -- our own code
            [sys.executable, "-c", _READING, str(corpus.folder), batch.model_dump_json()],
            check=True,
            capture_output=True,
            text=True,
        )
        found: dict[str, float] = json.loads(done.stdout)
        data = TranslationData(corpus, batch=batch, temperature=1.0, seed=0)
        begun = time.perf_counter()
        batches = iter(data.train_dataloader())
        next(batches)
        found["first_batch_seconds"] = time.perf_counter() - begun
        begun = time.perf_counter()
        read = [next(batches) for _ in range(_BATCHES)]
        found["batch_seconds"] = (time.perf_counter() - begun) / _BATCHES
        network = Transformer(model, vocabulary_size=corpus.vocabulary.size, pad=0)
        optimizer = torch.optim.Adam(network.parameters())
        seconds = []
        for each in read[:_STEPS]:
            begun = time.perf_counter()
            hidden, target = each.counted(network(each)), each.counted(each.target_out_BT)
            loss, _ = smoothed_cross_entropy(hidden, network.output.weight, target, smoothing=0.1)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - begun)
        found["step_seconds"] = float(np.median(seconds))
        found["step_over_batch"] = found["step_seconds"] / found["batch_seconds"]
        return found


def _tokenisation(settings: FilesSettings, corpus: Corpus, *, folder: Path) -> float:
    """Encoding blocks, read and written, against SentencePiece alone on the same text and core."""
    (pair,) = settings.parsed_pairs
    small = folder / "small"
    small.mkdir()
    for code in (pair.source, pair.target):
        name = f"train.{pair}.{code}"
        with (folder / name).open(encoding="utf-8") as lines:
            head = [line for _, line in zip(range(100_000), lines, strict=False)]
        (small / name).write_text("".join(head), encoding="utf-8")
    source = make_source(settings.model_copy(update={"root": str(small)}))
    with Workers(1) as workers:
        clean_pairs(
            source, settings, folder=folder / "clean", workers=workers, advance=lambda: None
        )
    cleaned = cleaned_pair(folder / "clean", pair, ("train",), Tally())
    processor = corpus.vocabulary.processor
    ratios = []
    # What preparing the corpus wrote must not be what syncing a block waits for.
    os.sync()

    def bare(sides: tuple[list[str], list[str]]) -> None:
        for side in sides:
            processor.Encode(side, num_threads=1)

    for number, (path, kept) in enumerate(zip(cleaned.blocks, cleaned.kept, strict=True)):
        to = folder / "encoded" / f"{number}.npz"
        model = corpus.folder / "vocabulary.model"
        block = CleanBlock(pair, path, kept, (), settings.cleaning, model, to)
        sides = texts(path, kept)
        contestants: dict[str, Callable[[], object]] = {
            "ours": partial(encode_block, block),
            "bare": partial(bare, sides),
        }
        seconds = {}
        # Who comes first changes: the second finds a warmer machine.
        for name in sorted(contestants, reverse=bool(number % 2)):
            begun = time.perf_counter()
            contestants[name]()
            seconds[name] = time.perf_counter() - begun
        ratios.append(seconds["ours"] / seconds["bare"])
    # The first block finds nothing in memory.
    return float(np.median(ratios[1:] or ratios))
