"""`evaluate`: score a run again, a checkpoint on a prepared corpus, or published outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from nsmt.commands.config import PathSettings, RunConfig
from nsmt.commands.identify import require_same_vocabulary
from nsmt.commands.report import report, show
from nsmt.commands.score import score_model, score_systems
from nsmt.data.corpus import Corpus
from nsmt.data.prepare import prepare
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.comparison import measure
from nsmt.evaluation.groups import groups_of, table_order
from nsmt.evaluation.published import PublishedSettings, read_published, table11
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.decoding import DecodingSettings
from nsmt.progress import result_console
from nsmt.records import read_record
from nsmt.reporting.results_tables import published_table
from nsmt.reporting.score_tables import scores_table
from nsmt.settings import Settings


class RunEvaluation(Settings):
    """Translate, score and report a finished run again, perhaps with another search."""

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
        None, description="how to search; null: as the run did, or the paper's search"
    )
    paths: PathSettings


def evaluate(config: EvaluateConfig) -> None:
    """Do what `eval` says."""
    if isinstance(config.eval, PublishedSettings):
        _published(config.eval, Path(_required(config, "outputs")))
    elif isinstance(config.eval, CheckpointEvaluation):
        _checkpoint(config)
    else:
        _run(config)


def _published(settings: PublishedSettings, folder: Path) -> None:
    languages = settings.language_table()
    systems = measure(read_published(folder), labels=settings.labels, tokenizer=settings.tokenizer)
    console = result_console()
    directions = table_order(systems[0].scores, languages, pivot=settings.pivot)
    groups = groups_of(directions, languages, pivot=settings.pivot)
    console.print(scores_table(systems, groups=groups).to_rich())
    table = table11(systems, languages, pivot=settings.pivot)
    console.print(published_table(table).to_rich())


def _checkpoint(config: EvaluateConfig) -> None:
    trained = load_checkpoint(Path(_required(config, "checkpoint")))
    corpus = Corpus.open(Path(_required(config, "corpus")))
    require_same_vocabulary(trained, corpus)
    outputs = score_model(
        trained,
        corpus,
        split=config.split,
        decoding=config.decoding or DecodingSettings(),
        label="checkpoint",
    )
    groups = groups_of(list(outputs), corpus.languages, pivot=corpus.pivot)
    result_console().print(scores_table(measure({"model": outputs}), groups=groups).to_rich())


def _run(config: EvaluateConfig) -> None:
    folder = Path(_required(config, "run"))
    record = read_record(folder)
    if "stages" not in record:
        raise DataError(f"{folder} holds no finished run", fix="train first, or name another run")
    run = RunConfig.model_validate_json(json.dumps(record["config"]))
    if config.decoding is not None:
        run = run.model_copy(update={"decoding": config.decoding})
    corpus = prepare(run.data, corpora=Path(run.paths.corpora), downloads=Path(run.paths.downloads))
    score_systems(run, corpus, record["stages"], folder=folder)
    report(folder)
    show(folder)


def _required(config: EvaluateConfig, key: str) -> str:
    value: str | None = getattr(config, key)
    if value is None:
        raise ConfigurationError(f"{key} is not given", fix=f"add {key}=FOLDER")
    return value
