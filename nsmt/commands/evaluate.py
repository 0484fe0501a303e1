"""`evaluate`: score a run again, a checkpoint on a prepared corpus, or published outputs.

Every evaluation has a folder of its own with tables, comparisons and a certificate; what a run
itself measured is never written over.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from nsmt.commands.arithmetic import arithmetic
from nsmt.commands.comet import comet
from nsmt.commands.config import ScoringSettings
from nsmt.commands.evaluations import (
    CheckpointEvaluation,
    EvaluateConfig,
    evaluation_certificate,
    keep,
    keep_comparisons,
    opened_run,
    over,
    required,
)
from nsmt.commands.fit import require_model_fits
from nsmt.commands.score import (
    compare_outputs,
    score_model,
    score_systems,
)
from nsmt.commands.translations import TRANSLATIONS, write_translations
from nsmt.commands.zero_shot import zero_shot
from nsmt.data.corpus import Corpus
from nsmt.evaluation.arithmetic import ArithmeticSettings
from nsmt.evaluation.comet import CometSettings
from nsmt.evaluation.comparison import measure
from nsmt.evaluation.groups import groups_of, table_order
from nsmt.evaluation.published import Outputs, PublishedSettings, read_published, table11
from nsmt.evaluation.results import Comparison
from nsmt.evaluation.scoring import require_tokenizer
from nsmt.evaluation.zero_shot import ZeroShotSettings
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.decoding import DecodingSettings
from nsmt.progress import progress_bar
from nsmt.reporting.results_tables import published_table
from nsmt.reporting.score_tables import scores_table

# The schema of the command is looked up here.
__all__ = ["EvaluateConfig", "evaluate"]


def evaluate(config: EvaluateConfig) -> Path:
    """Do what `eval` says; the folder of the results."""
    if isinstance(config.eval, PublishedSettings):
        return _published(config, config.eval)
    if isinstance(config.eval, ZeroShotSettings):
        return zero_shot(config, config.eval)
    if isinstance(config.eval, ArithmeticSettings):
        return arithmetic(config, config.eval)
    if isinstance(config.eval, CometSettings):
        return comet(config, config.eval)
    return _checkpoint(config) if isinstance(config.eval, CheckpointEvaluation) else _run(config)


def _published(config: EvaluateConfig, settings: PublishedSettings) -> Path:
    outputs = read_published(Path(required(config, "outputs")))
    languages = settings.language_table()
    scoring = over(ScoringSettings(), config.test)
    require_tokenizer(scoring.tokenizer)
    into = config.folder(below=Path(config.paths.runs), test=scoring)
    record = evaluation_certificate(config, fingerprint=_fingerprint(outputs), test=scoring)
    with progress_bar(shown=config.progress) as bar:
        task = bar.add_task("score", total=sum(map(len, outputs.values())), status="")
        systems = measure(
            outputs,
            labels=settings.labels,
            tokenizer=scoring.tokenizer,
            advance=lambda: bar.advance(task),
        )
    directions = {direction for system in systems for direction in system.scores}
    groups = groups_of(
        table_order(directions, languages, pivot=settings.pivot), languages, pivot=settings.pivot
    )
    tables = {
        "scores": scores_table(systems, groups=groups),
        "table11": published_table(table11(systems, languages, pivot=settings.pivot)),
    }
    # Kept before the comparison, which systems of different test sets do not allow.
    keep(into, tables, systems, record)
    comparisons = _compare_published(config, settings, outputs, scoring=scoring, into=into)
    keep_comparisons(into, comparisons)
    return into


def _compare_published(
    config: EvaluateConfig,
    settings: PublishedSettings,
    outputs: Outputs,
    *,
    scoring: ScoringSettings,
    into: Path,
) -> list[Comparison]:
    """Against the baseline, on the directions that all systems have; none where it stands alone."""
    shared = set.intersection(*(set(of_system) for of_system in outputs.values()))
    if settings.baseline not in outputs or len(outputs) == 1 or not shared:
        return []
    languages = settings.language_table()
    ordered = table_order(shared, languages, pivot=settings.pivot)
    return compare_outputs(
        {name: {d: of_system[d] for d in ordered} for name, of_system in outputs.items()},
        baselines=[settings.baseline],
        groups=groups_of(ordered, languages, pivot=settings.pivot),
        scoring=scoring,
        labels=settings.labels,
        into=into,
        together=settings.together,
        progress=config.progress,
    )


def _checkpoint(config: EvaluateConfig) -> Path:
    trained = load_checkpoint(Path(required(config, "checkpoint")))
    corpus = Corpus.open(Path(required(config, "corpus")))
    require_model_fits(trained, corpus, splits=(config.split,))
    decoding = over(DecodingSettings(), config.decoding)
    scoring = over(ScoringSettings(), config.test)
    require_tokenizer(scoring.tokenizer)
    effective = {"decoding": decoding, "test": scoring}
    into = config.folder(below=Path(config.paths.runs), **effective)
    record = evaluation_certificate(config, fingerprint=corpus.fingerprint, **effective)
    record["model"] = trained.fingerprint
    outputs = score_model(
        trained,
        corpus,
        split=config.split,
        decoding=decoding,
        label="checkpoint",
        accelerator=config.accelerator or "cpu",
        progress=config.progress,
    )
    write_translations(into / TRANSLATIONS, "checkpoint", corpus, outputs, split=config.split)
    systems = measure({"checkpoint": outputs}, tokenizer=scoring.tokenizer)
    groups = groups_of(list(outputs), corpus.languages, pivot=corpus.pivot)
    keep(into, {"scores": scores_table(systems, groups=groups)}, systems, record)
    return into


def _run(config: EvaluateConfig) -> Path:
    opened = opened_run(config)
    comparisons = score_systems(
        opened.config,
        opened.corpus,
        opened.record["stages"],
        models=opened.folder,
        into=opened.into,
    )
    keep_comparisons(opened.into, comparisons)
    keep(opened.into, {}, comparisons[-1].systems, opened.certificate)
    return opened.into


def _fingerprint(outputs: Outputs) -> str:
    """One hash of all published text, in the order of systems and directions."""
    digest = hashlib.sha256()
    for name, of_system in outputs.items():
        for direction, output in sorted(of_system.items(), key=lambda entry: str(entry[0])):
            text = [name, str(direction), *output.hypotheses, *output.references]
            digest.update(json.dumps(text).encode())
    return digest.hexdigest()
