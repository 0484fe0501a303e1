"""`evaluate`: score a run again, a checkpoint on a prepared corpus, or published outputs.

Every evaluation has a folder of its own with tables, comparisons and a certificate; what a run
itself measured is never written over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from nsmt.commands.config import PathSettings, ScoringSettings, recorded_config
from nsmt.commands.fit import require_model_fits
from nsmt.commands.score import (
    compare_outputs,
    score_model,
    score_systems,
)
from nsmt.commands.translations import TRANSLATIONS, write_translations
from nsmt.data.corpus import Corpus
from nsmt.data.prepare import prepare
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.comparison import measure
from nsmt.evaluation.groups import groups_of, table_order
from nsmt.evaluation.published import Outputs, PublishedSettings, read_published, table11
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.decoding import DecodingSettings
from nsmt.progress import progress_bar, result_console
from nsmt.records import certificate, command_line, now, read_record, write_record
from nsmt.reporting.results_tables import comparison_tables, published_table
from nsmt.reporting.score_tables import scores_table, summary_table
from nsmt.reporting.tables import Table, save_tables
from nsmt.settings import Settings

S = TypeVar("S", bound=Settings)
EVALUATIONS = "evaluations"


class RunEvaluation(Settings):
    """Translate, score and compare the models of a finished run, perhaps with another search."""

    kind: Literal["run"]


class CheckpointEvaluation(Settings):
    """Score one model on a split of a prepared corpus."""

    kind: Literal["checkpoint"]


EvaluationSettings = Annotated[
    RunEvaluation | CheckpointEvaluation | PublishedSettings, Field(discriminator="kind")
]


class EvaluateConfig(Settings):
    """All of `python evaluate.py`."""

    eval: EvaluationSettings
    run: str | None = Field(None, description="a run folder, for eval=run")
    checkpoint: str | None = Field(None, description="a model's folder, for eval=checkpoint")
    corpus: str | None = Field(None, description="a prepared corpus, for eval=checkpoint")
    split: Literal["valid", "test"] = Field("test", description="for eval=checkpoint")
    outputs: str | None = Field(None, description="published outputs, for eval=paper_ec30")
    decoding: DecodingSettings | None = Field(
        None, description="how to search; what is not given is as the run did, or the paper's"
    )
    test: ScoringSettings | None = Field(
        None, description="how to compare; what is not given is as the run did, or the default"
    )
    accelerator: Literal["cpu", "gpu"] | None = Field(
        None, description="where to translate; null: as the run did, or the CPU"
    )
    progress: bool = True
    output: str | None = Field(
        None, description="folder for the results; null: below the run, or below paths.runs"
    )
    paths: PathSettings

    def folder(self, *, below: Path, **effective: Settings) -> Path:
        """Where the results go: the folder given, or one named by what decides them.

        Raises ConfigurationError if the folder given is a run's own.
        """
        if self.output is not None:
            if "stages" in read_record(Path(self.output)):
                raise ConfigurationError(
                    f"output={self.output} is the folder of a run, whose results are kept",
                    fix="name another folder, or leave output out",
                )
            return Path(self.output)
        asked = self.model_dump(
            mode="json", include={"eval", "checkpoint", "corpus", "split", "outputs"}
        )
        asked |= {name: settings.model_dump(mode="json") for name, settings in effective.items()}
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:10]
        return below / EVALUATIONS / f"{self.eval.kind}-{digest}"


def evaluate(config: EvaluateConfig) -> Path:
    """Do what `eval` says; the folder of the results."""
    if isinstance(config.eval, PublishedSettings):
        return _published(config, config.eval)
    return _checkpoint(config) if isinstance(config.eval, CheckpointEvaluation) else _run(config)


def _published(config: EvaluateConfig, settings: PublishedSettings) -> Path:
    outputs = read_published(Path(_required(config, "outputs")))
    languages = settings.language_table()
    scoring = _over(ScoringSettings(), config.test)
    into = config.folder(below=Path(config.paths.runs), test=scoring)
    record = _certificate(config, fingerprint=_fingerprint(outputs), test=scoring)
    with progress_bar(shown=config.progress) as bar:
        task = bar.add_task("score", total=sum(map(len, outputs.values())), status="")
        systems = measure(
            outputs,
            labels=settings.labels,
            tokenizer=settings.tokenizer,
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
    _keep(into, tables, systems, record)
    comparisons = _compare_published(config, settings, outputs, scoring=scoring, into=into)
    _keep_comparisons(into, comparisons)
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
        tokenizer=settings.tokenizer,
        together=settings.together,
        progress=config.progress,
    )


def _checkpoint(config: EvaluateConfig) -> Path:
    trained = load_checkpoint(Path(_required(config, "checkpoint")))
    corpus = Corpus.open(Path(_required(config, "corpus")))
    require_model_fits(trained, corpus, splits=(config.split,))
    decoding = _over(DecodingSettings(), config.decoding)
    into = config.folder(below=Path(config.paths.runs), decoding=decoding)
    record = _certificate(config, fingerprint=corpus.fingerprint, decoding=decoding)
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
    systems = measure({"checkpoint": outputs})
    groups = groups_of(list(outputs), corpus.languages, pivot=corpus.pivot)
    _keep(into, {"scores": scores_table(systems, groups=groups)}, systems, record)
    return into


def _run(config: EvaluateConfig) -> Path:
    folder = Path(_required(config, "run"))
    trained = read_record(folder)
    run = recorded_config(folder, trained)
    trainer = {} if config.accelerator is None else {"accelerator": config.accelerator}
    run = run.model_copy(
        update={
            "decoding": _over(run.decoding, config.decoding),
            "test": _over(run.test, config.test),
            "trainer": run.trainer.model_copy(update=trainer),
            "callbacks": run.callbacks.model_copy(update={"progress": config.progress}),
        }
    )
    corpus = prepare(
        run.data,
        corpora=Path(run.paths.corpora),
        downloads=Path(run.paths.downloads),
        progress=config.progress,
    )
    if corpus.fingerprint != trained["data_fingerprint"]:
        raise DataError(
            f"{corpus.folder} holds other text than {folder} was trained on",
            fix="put the inputs of that run back, or train again",
        )
    effective = {"decoding": run.decoding, "test": run.test}
    into = config.folder(below=folder, **effective)
    record = _certificate(config, fingerprint=corpus.fingerprint, **effective)
    record["run"] = {key: trained[key] for key in ("command", "commit", "started", "finished")}
    comparisons = score_systems(run, corpus, trained["stages"], models=folder, into=into)
    _keep(into, {}, comparisons[-1].systems, record)
    _keep_comparisons(into, comparisons)
    return into


def _keep(
    into: Path,
    tables: Mapping[str, Table],
    systems: Sequence[SystemResult],
    record: Mapping[str, Any],
) -> None:
    """Write tables, scores and certificate, and show the tables."""
    save_tables(tables, into / "tables")
    scores = {
        system.name: {str(direction): dict(found) for direction, found in system.scores.items()}
        for system in systems
    }
    write_record(into, {**record, "scores": scores, "finished": now()})
    console = result_console()
    for table in tables.values():
        console.print(table.to_rich())
    console.print(f"results: {into.resolve()}", soft_wrap=True, highlight=False, markup=False)


def _keep_comparisons(into: Path, comparisons: Sequence[Comparison]) -> None:
    """Write the tables of the comparisons and show a summary of the last."""
    if comparisons:
        save_tables(comparison_tables(comparisons), into / "tables")
        against = comparisons[-1]
        title = f"Comparison over the {len(against.directions)} directions that all systems have"
        result_console().print(summary_table(against, title=title).to_rich())


def _certificate(
    config: EvaluateConfig, *, fingerprint: str, **effective: Settings
) -> dict[str, Any]:
    """The certificate, with the settings in effect instead of those that were given."""
    dumped = {name: settings.model_dump(mode="json") for name, settings in effective.items()}
    scoring = effective.get("test")
    return certificate(
        command=command_line(),
        config=config.model_dump(mode="json") | dumped,
        seed=scoring.seed if isinstance(scoring, ScoringSettings) else 0,
        fingerprint=fingerprint,
    )


def _fingerprint(outputs: Outputs) -> str:
    """One hash of all published text, in the order of systems and directions."""
    digest = hashlib.sha256()
    for name, of_system in outputs.items():
        for direction, output in sorted(of_system.items(), key=lambda entry: str(entry[0])):
            text = [name, str(direction), *output.hypotheses, *output.references]
            digest.update(json.dumps(text).encode())
    return digest.hexdigest()


def _over(base: S, given: S | None) -> S:
    """`base` with the fields that were given."""
    if given is None:
        return base
    return base.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def _required(config: EvaluateConfig, key: str) -> str:
    value: str | None = getattr(config, key)
    if value is None:
        raise ConfigurationError(f"{key} is not given", fix=f"add {key}=FOLDER")
    return value
