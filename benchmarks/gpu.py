"""Every figure that needs a GPU, by one command.

    python benchmarks/gpu.py [--corpus FOLDER] [--into FOLDER] [--steps N] [--rounds N] [--rehearse]
                             [PART ...]

Parts: tests, train-30720, train-7680, identify, decode; all of them if none is named. Each runs in
a process of its own and writes its record, FOLDER/gpu-PART.json, as figures come, so that one that
fails takes nothing from the others. Sentences are made up (nsmt.benchmarks.made_up), as long as
those of the prepared corpus that --corpus names, or else as those in lengths-bible8.json; with
--corpus, decoding translates its text. --steps (200) and --rounds (3, and 20 of identification) are
how often training steps and the others are timed. --rehearse runs everything small on a CPU.

Wants torch with CUDA, pytorch-lightning and transformers (the peer); pytest for the tests; neither
Hydra nor a network.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from nsmt.benchmarks.decoding import bench_decode
from nsmt.benchmarks.identifying import bench_identify
from nsmt.benchmarks.made_up import MadeUpCorpus
from nsmt.benchmarks.record import keep_figures
from nsmt.benchmarks.timing import Figures
from nsmt.benchmarks.training import bench_train
from nsmt.data.corpus import Corpus
from nsmt.data.plan import BatchSettings
from nsmt.errors import ConfigurationError
from nsmt.models.decoding import DecodingSettings
from nsmt.models.settings import ModelSettings
from nsmt.records import certificate, command_line
from nsmt.training.settings import TrainerSettings
from nsmt.training.trainer import device_of, on_machine, set_machine

HERE = Path(__file__).resolve().parent
PARTS = ("tests", "train-30720", "train-7680", "identify", "decode")
# Files whose tests are marked gpu, and import no more than is there.
TESTS = ("models/test_gpu.py", "training/test_divergence.py")
DIRECTIONS = 60
# conf/model/mt_big and mt_small, but for the peer's layer norms and tied embeddings.
MT_BIG = ModelSettings(
    encoder_layers=6,
    decoder_layers=6,
    d_model=1024,
    d_ff=4096,
    heads=16,
    dropout=0.1,
    attention_dropout=0.1,
    share_embeddings="all",
)
MT_SMALL = MT_BIG.model_copy(
    update={"d_model": 512, "d_ff": 1024, "heads": 4, "attention_dropout": 0.0}
)
# conf/trainer/gpu.
GPU = TrainerSettings(
    accelerator="gpu",
    precision="bf16-mixed",
    tf32=True,
    deterministic=False,
    background=True,
    compile=True,
)


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    big: ModelSettings = MT_BIG
    small: ModelSettings = MT_SMALL
    trainer: TrainerSettings = GPU
    vocabulary: int = 64_000
    # Decoding needs a model that has learnt something, and has fewer pieces to learn.
    decoded_vocabulary: int = 16_000
    decoded_pieces: int = 1_000
    sentences: int = 5_000
    # Batches are so many times smaller.
    shrunk: int = 1
    steps: int = 200
    passes: int = 20
    updates: int = 1_500
    translated: int = 500
    rounds: int = 3
    peer_batches: tuple[int, ...] = (16, 64, 256)


_TINY = MT_BIG.model_copy(
    update={"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, "d_ff": 24, "heads": 2}
)
REHEARSAL = Sizes(
    big=_TINY,
    small=_TINY,
    trainer=TrainerSettings(threads=1),
    vocabulary=300,
    decoded_vocabulary=300,
    decoded_pieces=20,
    sentences=40,
    shrunk=20,
    steps=2,
    passes=1,
    updates=3,
    translated=4,
    rounds=1,
    peer_batches=(4,),
)


def main() -> None:
    """Run the parts, one process each; the status is 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--into", type=Path, default=HERE)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sizes = REHEARSAL if asked.rehearse else Sizes()
    if asked.steps:
        sizes = replace(sizes, steps=asked.steps)
    if asked.rounds:
        sizes = replace(sizes, rounds=asked.rounds, passes=asked.rounds)
    if asked.here:
        run(asked.parts[0], sizes, corpus=asked.corpus, into=asked.into)
        return
    try:
        device_of(sizes.trainer.accelerator)
    except ConfigurationError as error:
        sys.exit(f"error: {error}; or rehearse on the CPU: --rehearse")
    failed = []
    for part in asked.parts or PARTS:
        print(f"--- {part}", flush=True)
        options = [word for word in sys.argv[1:] if word not in PARTS]
        words = [sys.executable, __file__, part, "--here", *options]
        failed += [part] if subprocess.run(words, check=False).returncode else []
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run(part: str, sizes: Sizes, *, corpus: Path | None, into: Path) -> None:
    """Measure one part and write its record."""
    set_machine(sizes.trainer)
    into.mkdir(parents=True, exist_ok=True)
    real = None if corpus is None else Corpus.open(corpus)
    text = _made_up(sizes, real)
    batch = _batch(part, sizes)
    config = {
        "part": part,
        "model": (sizes.small if part == "decode" else sizes.big).model_dump(mode="json"),
        "trainer": sizes.trainer.model_dump(mode="json"),
        "batch": batch.model_dump(mode="json"),
        "directions": DIRECTIONS,
        "steps": sizes.steps,
        "rounds": sizes.passes if part == "identify" else sizes.rounds,
        "vocabulary": sizes.vocabulary,
        "lengths": "lengths-bible8.json" if real is None else real.fingerprint,
    }
    record = certificate(
        command=command_line(), config=config, seed=0, fingerprint=text.fingerprint
    )
    parts = _measured(part, sizes, batch, text=text, real=real)
    figures = keep_figures(parts, record, into / f"gpu-{part}.json")
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):48} {value:,.4g}")
    if figures.get("failed"):
        sys.exit("tests failed")


def _measured(
    part: str, sizes: Sizes, batch: BatchSettings, *, text: Corpus, real: Corpus | None
) -> Iterator[Figures]:
    if part == "tests":
        yield _tested()
    elif part == "identify":
        with tempfile.TemporaryDirectory() as folder:
            yield bench_identify(
                text,
                sizes.big,
                batch,
                sizes.trainer,
                repetitions=sizes.passes,
                folder=Path(folder),
            )
    elif part == "decode":
        yield bench_decode(
            real or _made_up(sizes, None, decoded=True),
            sizes.small,
            batch,
            DecodingSettings(beam=5, max_length_extra=60),
            sentences=sizes.translated,
            updates=sizes.updates,
            rounds=sizes.rounds,
            peer_batches=sizes.peer_batches,
            device=device_of(sizes.trainer.accelerator),
        )
    else:
        yield from bench_train(text, sizes.big, batch, sizes.trainer, repetitions=sizes.steps)


def _batch(part: str, sizes: Sizes) -> BatchSettings:
    tokens = {"train-30720": 30_720, "identify": 30_720}.get(part, 7_680)
    settings = BatchSettings(tokens=tokens // sizes.shrunk)
    return on_machine(settings, sizes.trainer, sizes.small if part == "decode" else sizes.big)


def _made_up(sizes: Sizes, real: Corpus | None, *, decoded: bool = False) -> MadeUpCorpus:
    """Sentences as long as those of the corpus, or as the stored ones."""
    if real is None:
        stored = json.loads((HERE / "lengths-bible8.json").read_text(encoding="utf-8"))
        lengths = [(source, target) for source, target in stored["lengths"]]
    else:
        tables = [real.table(direction, "train") for direction in real.directions]
        lengths = [
            pair
            for table in tables
            for pair in zip(
                table.source_lengths.tolist(), table.target_lengths.tolist(), strict=True
            )
        ]
    return MadeUpCorpus(
        lengths,
        vocabulary=sizes.decoded_vocabulary if decoded else sizes.vocabulary,
        directions=2 if decoded else DIRECTIONS,
        # As many in all.
        sentences=sizes.sentences * (DIRECTIONS // 2 if decoded else 1),
        pieces=sizes.decoded_pieces if decoded else None,
    )


def _tested() -> Figures:
    """How many of the tests that need a GPU passed; a failure fails this part too."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-m", "pytest", "-m", "gpu", "-q", "-rs", f"--junitxml={report}"]
        tests = [str(HERE.parent / "tests" / name) for name in TESTS]
        status = subprocess.run([sys.executable, *words, *tests], check=False).returncode
        if not report.is_file():
            raise RuntimeError(f"pytest ended with status {status}, and left no report")
        suite = ElementTree.parse(report).getroot()[0]
    count = {name: float(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    return {
        "passed": count["tests"] - failed - count["skipped"],
        "failed": failed,
        "skipped": count["skipped"],
    }


if __name__ == "__main__":
    main()
