"""What all evaluations share: their configuration, their folder, its certificate and tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import Field

from nsmt.commands.config import (
    PathSettings,
    RunConfig,
    ScoringSettings,
    lock_of,
    recorded_config,
)
from nsmt.commands.fit import recorded_corpus
from nsmt.data.corpus import Corpus
from nsmt.errors import ConfigurationError
from nsmt.evaluation.arithmetic import ArithmeticSettings
from nsmt.evaluation.comet import CometSettings
from nsmt.evaluation.published import PublishedSettings
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.evaluation.scoring import require_tokenizer
from nsmt.evaluation.zero_shot import ZeroShotSettings
from nsmt.files import remove_unfinished
from nsmt.models.decoding import DecodingSettings
from nsmt.progress import result_console
from nsmt.records import certificate, command_line, now, read_record, write_record
from nsmt.reporting.results_tables import comparison_tables
from nsmt.reporting.score_tables import summary_table
from nsmt.reporting.tables import Table, save_tables
from nsmt.settings import Settings
from nsmt.turns import taking_turns

S = TypeVar("S", bound=Settings)
EVALUATIONS = "evaluations"


class RunEvaluation(Settings):
    """Translate, score and compare the models of a finished run, perhaps with another search."""

    kind: Literal["run"]


class CheckpointEvaluation(Settings):
    """Score one model on a split of a prepared corpus."""

    kind: Literal["checkpoint"]


EvaluationSettings = Annotated[
    RunEvaluation
    | CheckpointEvaluation
    | PublishedSettings
    | ZeroShotSettings
    | ArithmeticSettings
    | CometSettings,
    Field(discriminator="kind"),
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


class OpenedRun(NamedTuple):
    """A finished run to evaluate: its folder, certificate, configuration and corpus.

    `into` is the folder of the results, and `certificate` theirs.
    """

    folder: Path
    record: dict[str, Any]
    config: RunConfig
    corpus: Corpus
    into: Path
    certificate: dict[str, Any]


def opened_run(config: EvaluateConfig) -> OpenedRun:
    """The run of `run=FOLDER`, with the settings that were given over its own.

    Raises DataError if it is not finished or its corpus is another now.
    """
    folder, trained, run = _run_to_evaluate(config)
    require_tokenizer(run.test.tokenizer)
    corpus = recorded_corpus(folder, trained, run, progress=config.progress)
    effective = _effective(run)
    record = evaluation_certificate(config, fingerprint=corpus.fingerprint, **effective)
    record["run"] = _about_run(trained)
    into = config.folder(below=folder, **effective)
    return OpenedRun(folder, trained, run, corpus, into, record)


@contextmanager
def alone_at(run: Path, into: Path) -> Iterator[None]:
    """Hold the lock of an evaluation of a run, and clear what killed ones left half-written."""
    with taking_turns(lock_of(run, into.name)):
        for folder in (into, *into.rglob("*/")):
            remove_unfinished(folder)
        yield


def results_of(config: EvaluateConfig) -> tuple[Path, bool]:
    """Where the results of evaluating a run go, and if they are there, of the run as it is now."""
    folder, trained, run = _run_to_evaluate(config)
    into = config.folder(below=folder, **_effective(run))
    record = read_record(into)
    return into, "finished" in record and record.get("run") == _about_run(trained)


def _run_to_evaluate(config: EvaluateConfig) -> tuple[Path, dict[str, Any], RunConfig]:
    """The run's folder, its certificate, and its configuration with what was given over it."""
    folder = Path(required(config, "run"))
    trained = read_record(folder)
    run = recorded_config(folder, trained)
    trainer = {} if config.accelerator is None else {"accelerator": config.accelerator}
    run = run.model_copy(
        update={
            "decoding": over(run.decoding, config.decoding),
            "test": over(run.test, config.test),
            "trainer": run.trainer.model_copy(update=trainer),
            "callbacks": run.callbacks.model_copy(update={"progress": config.progress}),
        }
    )
    return folder, trained, run


def _effective(run: RunConfig) -> dict[str, Settings]:
    """What decides the numbers of an evaluation, beside the run and `eval`."""
    return {"decoding": run.decoding, "test": run.test}


def _about_run(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the certificate of an evaluation says of the run."""
    return {key: record[key] for key in ("command", "commit", "started", "finished")}


def keep(
    into: Path,
    tables: Mapping[str, Table],
    systems: Sequence[SystemResult],
    record: Mapping[str, Any],
) -> None:
    """Write tables, scores and, last, the certificate, and show the tables."""
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


def keep_comparisons(into: Path, comparisons: Sequence[Comparison]) -> None:
    """Write the tables of the comparisons and show a summary of the last."""
    if comparisons:
        save_tables(comparison_tables(comparisons), into / "tables")
        against = comparisons[-1]
        title = f"Comparison over the {len(against.directions)} directions that all systems have"
        result_console().print(summary_table(against, title=title).to_rich())


def evaluation_certificate(
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


def over(base: S, given: S | None) -> S:
    """`base` with the fields that were given."""
    if given is None:
        return base
    return base.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


def required(config: EvaluateConfig, key: str) -> str:
    """The folder that a kind of evaluation cannot do without."""
    value: str | None = getattr(config, key)
    if value is None:
        raise ConfigurationError(f"{key} is not given", fix=f"add {key}=FOLDER")
    return value
