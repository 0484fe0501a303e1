"""Translate, score and compare the test sets with every model of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nsmt.commands.config import RunConfig
from nsmt.data.corpus import Corpus
from nsmt.evaluation.comparison import compare_all
from nsmt.evaluation.groups import groups_of
from nsmt.evaluation.results import Comparison, TestOutput
from nsmt.evaluation.translation import likelihoods, translate
from nsmt.files import replace_text
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE, METHODS
from nsmt.models.checkpoint import TrainedModel, load_checkpoint
from nsmt.models.decoding import DecodingSettings
from nsmt.progress import progress_bar
from nsmt.training.stages import CHECKPOINT

_LOG = logging.getLogger(__name__)
TRANSLATIONS = "translations"
LABELS = {DENSE: "dense"} | {name: method.label for name, method in METHODS.items()}

# Sentences x longest side of a batch whose likelihood is found.
_LIKELIHOOD_TOKENS = 4096
SystemOutputs = dict[str, dict[Direction, TestOutput]]


def score_systems(
    config: RunConfig, corpus: Corpus, names: Sequence[str], *, folder: Path | None = None
) -> list[Comparison]:
    """Write translations and comparisons into the run folder; one comparison a baseline."""
    folder = folder or config.folder
    outputs: SystemOutputs = {}
    for name in names:
        outputs[name] = score_model(
            load_checkpoint(folder / name / CHECKPOINT),
            corpus,
            decoding=config.decoding,
            label=LABELS[name],
            accelerator=config.trainer.accelerator,
            progress=config.callbacks.progress,
        )
        _LOG.info("translated the test sets with %s", name)
        _write_translations(folder / TRANSLATIONS, name, corpus, outputs[name])
    groups = groups_of(corpus.directions, corpus.languages, pivot=corpus.pivot)
    comparisons = compare_all(
        outputs,
        baselines=[name for name in (DENSE, CONTROL) if name in outputs],
        groups=groups,
        samples=config.test.bootstrap_samples,
        seed=config.test.seed,
        labels=LABELS,
    )
    for name, comparison in comparisons.items():
        replace_text(comparison_path(folder, name), comparison.to_json())
    return list(comparisons.values())


def comparison_path(folder: Path, baseline: str) -> Path:
    """Where the comparison with a baseline is kept."""
    return folder / "results" / f"against-{baseline}.json"


def score_model(
    trained: TrainedModel,
    corpus: Corpus,
    *,
    decoding: DecodingSettings,
    label: str,
    split: str = "test",
    accelerator: str = "cpu",
    progress: bool = True,
) -> dict[Direction, TestOutput]:
    """Translate a split in every direction and find the likelihood of its references."""
    device = "cuda" if accelerator == "gpu" else "cpu"
    texts = {direction: corpus.texts(direction, split) for direction in trained.directions}
    total = sum(len(sources) for sources, _ in texts.values())
    with progress_bar(shown=progress) as bar:
        task = bar.add_task(f"translate {label}", total=total, status="")
        hypotheses = translate(
            trained,
            {direction: sources for direction, (sources, _) in texts.items()},
            decoding=decoding,
            device=device,
            advance=lambda count: bar.advance(task, count),
        )
    tables = {direction: corpus.table(direction, split) for direction in trained.directions}
    nlls = likelihoods(trained, tables, tokens=_LIKELIHOOD_TOKENS, device=device)
    return {
        direction: TestOutput(hypotheses[direction], references, *nlls[direction])
        for direction, (_, references) in texts.items()
    }


def _write_translations(
    folder: Path, system: str, corpus: Corpus, outputs: dict[Direction, TestOutput]
) -> None:
    """The layout of published outputs: SRC-TGT/{src,ref,hyp.SYSTEM}.txt, and the likelihoods."""
    for direction, output in outputs.items():
        sources, references = corpus.texts(direction, "test")
        place = folder / str(direction)
        for name, lines in (
            ("src", sources),
            ("ref", references),
            (f"hyp.{system}", output.hypotheses),
        ):
            replace_text(place / f"{name}.txt", "".join(f"{line}\n" for line in lines))
        assert output.nll is not None  # noqa: S101 -- narrows the type
        assert output.target_tokens is not None  # noqa: S101
        rows = zip(np.asarray(output.nll).tolist(), output.target_tokens.tolist(), strict=True)
        text = "nll\ttarget_tokens\n" + "".join(f"{nll:.6f}\t{count}\n" for nll, count in rows)
        replace_text(place / f"nll.{system}.tsv", text)
