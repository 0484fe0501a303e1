"""Translate, score and compare the test sets with every model of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from nsmt.commands.config import RunConfig, ScoringSettings
from nsmt.commands.translations import TRANSLATIONS, kept_translations, maker, write_translations
from nsmt.data.corpus import Corpus, TokenTable
from nsmt.data.pivot_join import meanings
from nsmt.evaluation.comparison import draw_all
from nsmt.evaluation.groups import Group, groups_of
from nsmt.evaluation.results import Comparison, TestOutput
from nsmt.evaluation.translation import likelihoods, translate
from nsmt.files import replace_text
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.decoding import DecodingSettings
from nsmt.models.systems import load_system
from nsmt.progress import progress_bar
from nsmt.steering.translation_models import Steering
from nsmt.training.trainer import device_of

_LOG = logging.getLogger(__name__)

# Sentences x longest side of a batch whose likelihood is found.
_LIKELIHOOD_TOKENS = 4096
SystemOutputs = Mapping[str, Mapping[Direction, TestOutput]]


def score_systems(
    config: RunConfig, corpus: Corpus, names: Sequence[str], *, models: Path, into: Path
) -> list[Comparison]:
    """Score the models in the run folder `models`, and compare them; one comparison a baseline.

    Translations and comparisons are written below `into`; translations that are there are not made
    again.
    """
    progress = config.callbacks.progress
    outputs: dict[str, Mapping[Direction, TestOutput]] = {}
    place = into / TRANSLATIONS
    for name in names:
        made_by = maker(models, name, corpus, decoding=config.decoding)
        if (kept := kept_translations(place, name, corpus, made_by=made_by)) is not None:
            outputs[name] = kept
            continue
        found: dict[Direction, TestOutput] = {}
        for trained in load_system(models / name):
            found |= score_model(
                trained,
                corpus,
                decoding=config.decoding,
                label=LABELS[name],
                accelerator=config.trainer.accelerator,
                progress=progress,
            )
        # A system of several models comes in their order.
        outputs[name] = {direction: found[direction] for direction in corpus.directions}
        _LOG.info("translated the test sets with %s", name)
        write_translations(place, name, corpus, outputs[name], made_by=made_by)
    return compare_systems(config, corpus, outputs, into=into)


def compare_systems(
    config: RunConfig, corpus: Corpus, outputs: SystemOutputs, *, into: Path
) -> list[Comparison]:
    """Compare a run's systems on its directions, as the run does, and keep the comparisons."""
    return compare_outputs(
        outputs,
        baselines=[name for name in (DENSE, CONTROL) if name in outputs],
        groups=groups_of(corpus.directions, corpus.languages, pivot=corpus.pivot),
        scoring=config.test,
        labels=LABELS,
        into=into,
        said=meanings(corpus, corpus.directions),
        progress=config.callbacks.progress,
    )


def compare_outputs(
    outputs: SystemOutputs,
    *,
    baselines: Sequence[str],
    groups: Sequence[Group],
    scoring: ScoringSettings,
    labels: Mapping[str, str],
    into: Path,
    together: bool = False,
    said: Mapping[Direction, Sequence[str]] | None = None,
    progress: bool = True,
) -> list[Comparison]:
    """Compare systems with each baseline; keep the comparisons and resamples below `into`.

    `said` tells which sentences of different directions say the same, and are drawn together.
    """
    with progress_bar(shown=progress) as bar:
        task = bar.add_task("compare", total=2 * len(next(iter(outputs.values()))), status="")
        comparisons, resamples = draw_all(
            outputs,
            baselines=baselines,
            groups=groups,
            samples=scoring.bootstrap_samples,
            seed=scoring.seed,
            labels=labels,
            tokenizer=scoring.tokenizer,
            together=together,
            meanings=said,
            advance=lambda: bar.advance(task),
        )
    for name, comparison in comparisons.items():
        replace_text(comparison_path(into, name), comparison.to_json())
    resamples.save(resamples_path(into))
    return list(comparisons.values())


def comparison_path(folder: Path, baseline: str) -> Path:
    """Where the comparison with a baseline is kept."""
    return folder / "results" / f"against-{baseline}.json"


def resamples_path(folder: Path) -> Path:
    """Where the scores on resampled test sets are kept, by which runs are paired."""
    return folder / "results" / "resamples.safetensors"


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
    return score_texts(
        trained,
        {direction: corpus.texts(direction, split) for direction in trained.directions},
        {direction: corpus.table(direction, split) for direction in trained.directions},
        decoding=decoding,
        label=label,
        accelerator=accelerator,
        progress=progress,
    )


def score_texts(
    trained: TrainedModel,
    texts: Mapping[Direction, tuple[Sequence[str], Sequence[str]]],
    tables: Mapping[Direction, TokenTable],
    *,
    decoding: DecodingSettings,
    label: str,
    steering: Steering | None = None,
    accelerator: str = "cpu",
    progress: bool = True,
) -> dict[Direction, TestOutput]:
    """The same for any source and target sentences, and the pieces of both; perhaps steered."""
    device = device_of(accelerator)
    total = sum(len(sources) for sources, _ in texts.values())
    with progress_bar(shown=progress) as bar:
        task = bar.add_task(f"translate {label}", total=total, status="")
        hypotheses = translate(
            trained,
            {direction: sources for direction, (sources, _) in texts.items()},
            decoding=decoding,
            device=device,
            steering=steering,
            advance=lambda count: bar.advance(task, count),
        )
        task = bar.add_task(f"likelihood {label}", total=total, status="")
        nlls = likelihoods(
            trained,
            tables,
            tokens=_LIKELIHOOD_TOKENS,
            device=device,
            steering=steering,
            advance=lambda count: bar.advance(task, count),
        )
    return {
        direction: TestOutput(hypotheses[direction], references, *nlls[direction])
        for direction, (_, references) in texts.items()
    }
