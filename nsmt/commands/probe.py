"""`probe`: what the neurons of a finished run's models do, measured once and shown.

A result that is there for the same weights, text and settings is not measured again; its tables
and figures are written anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from nsmt.commands.config import lock_of
from nsmt.commands.kept_result import any_kept, kept_result
from nsmt.commands.probe_measures import (
    Found,
    Tell,
    probe_family,
    probe_gradients,
    probe_interventions,
    probe_stability,
    probe_transfer,
)
from nsmt.commands.probe_subject import Subject, opened
from nsmt.files import remove_unfinished, replace_text
from nsmt.languages import OTHER
from nsmt.manifest import verified_manifest
from nsmt.methods import DENSE
from nsmt.models.systems import CHECKPOINT
from nsmt.probing.settings import (
    PROBES,
    FamilySettings,
    GradientSettings,
    InterventionSettings,
    ProbeName,
    StabilitySettings,
    TransferSettings,
)
from nsmt.progress import progress_bar, result_console
from nsmt.records import certificate, command_line, now, read_record
from nsmt.reporting.figures import save_figure
from nsmt.reporting.probes import probe_figures, probe_tables
from nsmt.reporting.tables import save_tables
from nsmt.settings import Settings
from nsmt.turns import taking_turns

FOLDER: Final = "probes"
# Raised whenever the same weights and settings give other results.
_VERSION: Final = 2
_MEASURES: Final[dict[ProbeName, Callable[..., Found]]] = {
    "interventions": probe_interventions,
    "gradients": probe_gradients,
    "transfer": probe_transfer,
    "stability": probe_stability,
    "family": probe_family,
}
# What is kept of each.
_PARTS: Final = frozenset({"result", "skipped", "certificate"})
# Probes that look at the dense model alone.
DENSE_ALONE: Final = ("stability", "family")


class ProbeConfig(Settings):
    """All of `nsmt probe`."""

    run: str = Field(description="the folder of a finished run")
    probes: tuple[ProbeName, ...] = Field(PROBES, min_length=1)
    accelerator: Literal["cpu", "gpu"] | None = Field(
        None, description="where to measure; null: as the run did"
    )
    progress: bool = True
    batch_tokens: Annotated[int, Field(ge=8)] = Field(4096, description="positions of a batch")
    interventions: InterventionSettings
    gradients: GradientSettings
    transfer: TransferSettings
    stability: StabilitySettings
    family: FamilySettings


def probe(config: ProbeConfig) -> Path:
    """Measure what is missing and show everything asked for; the folder of the results."""
    folder = Path(config.run)
    subject = opened(folder, accelerator=config.accelerator, progress=config.progress)
    into = folder / FOLDER
    with taking_turns(lock_of(folder, "probe")):
        for place in (into, into / "tables"):
            remove_unfinished(place)
        for name in dict.fromkeys(config.probes):
            kept = kept_result(into / f"{name}.json", _key(subject, config, name), parts=_PARTS)
            again = kept is not None
            if kept is None:
                kept = _measured(subject, config, name)
            _show(name, kept, into, again=again)
            if not again:
                # Last: where it is, its tables and figures are.
                text = json.dumps(kept, ensure_ascii=False, allow_nan=False)
                replace_text(into / f"{name}.json", text + "\n")
    console = result_console()
    console.print(f"results: {into.resolve()}", soft_wrap=True, highlight=False, markup=False)
    return into


def kept_probes(config: ProbeConfig) -> dict[ProbeName, dict[str, Any]]:
    """What is there of the probes asked for, of the run as it is now; the text is not opened.

    Damaged results are DataErrors, damaged weights CheckpointErrors.
    """
    folder = Path(config.run)
    record = read_record(folder)
    found = {}
    for name in dict.fromkeys(config.probes):
        kept = any_kept(folder / FOLDER / f"{name}.json")
        if kept is None or not kept.keys() >= _PARTS:
            continue
        key = kept["key"]
        now_is = {
            "version": _VERSION,
            "settings": json.loads(json.dumps(getattr(config, name).model_dump(mode="json"))),
            "corpus": record["data_fingerprint"],
            "stages": record["stages"],
            "weights": {
                stage: verified_manifest(folder / stage / CHECKPOINT, required=())
                for stage in key.get("weights", ())
            },
        }
        if all(key.get(part) == value for part, value in now_is.items()):
            found[name] = kept
    return found


def _measured(subject: Subject, config: ProbeConfig, name: ProbeName) -> dict[str, Any]:
    settings = getattr(config, name)
    record = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=getattr(settings, "seed", 0),
        fingerprint=subject.corpus.fingerprint,
    )
    with progress_bar(shown=config.progress) as bar:
        task = bar.add_task(name, total=None, status="")
        tell: Tell = lambda status: bar.update(task, advance=1, status=status)  # noqa: E731
        found = _MEASURES[name](subject, settings, tokens=config.batch_tokens, tell=tell)
    return {
        "probe": name,
        "key": _key(subject, config, name),
        "certificate": record | {"device": subject.device, "finished": now()},
        "skipped": found.skipped,
        "result": found.result,
    }


def _key(subject: Subject, config: ProbeConfig, name: ProbeName) -> dict[str, Any]:
    """What decides a result: weights, text, statistics, settings."""
    stages: Sequence[str] = [DENSE] if name in DENSE_ALONE else subject.models
    run = subject.run
    languages = subject.corpus.languages
    key = {
        "version": _VERSION,
        "settings": getattr(config, name).model_dump(mode="json"),
        "corpus": subject.corpus.fingerprint,
        "families": {
            code: None if entry.family == OTHER else entry.family
            for code, entry in languages.items()
        },
        "weights": {stage: subject.weights(stage) for stage in stages},
        "statistics": subject.statistics_digest,
        "selection": run.selection.model_dump(mode="json"),
        "overlap_k": run.report.overlap_k,
        "stages": subject.stages,
    }
    # As it will be read.
    plain: dict[str, Any] = json.loads(json.dumps(key))
    return plain


def _show(name: ProbeName, kept: dict[str, Any], into: Path, *, again: bool) -> None:
    """Write tables and figures, and print the main tables."""
    tables = probe_tables(name, kept["result"])
    save_tables(tables, into / "tables")
    for title, figure in probe_figures(name, kept["result"]):
        save_figure(figure, into / "figures", title)
    console = result_console()
    if again:
        finished = kept["certificate"]["finished"]
        console.print(f"{name} was measured at {finished} on the same weights and settings")
    for title, table in tables.items():
        if "-by-" not in title:
            console.print(table.to_rich())
    for system, reason in kept["skipped"].items():
        console.print(f"{name} leaves out {system}: {reason}", markup=False)
