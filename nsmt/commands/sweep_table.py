"""`sweep table`: the results of many runs in one table, with a figure for each swept key.

Nothing is measured: runs are found by the jobs of a sweep, or below the runs' folder, and what each
of them wrote of its test sets is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import Field

from nsmt.commands.compose import key_paths
from nsmt.commands.config import PathSettings, RunConfig, begun_config
from nsmt.commands.score import comparison_path
from nsmt.commands.sweep_job import failure_reason
from nsmt.commands.sweeps import SWEEPS, Sweep
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.groups import Group
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.methods import CONTROL, DENSE
from nsmt.progress import console, result_console
from nsmt.records import RECORD, read_record
from nsmt.reporting.figures import save_figure
from nsmt.reporting.results_tables import row_order
from nsmt.reporting.sweep_figures import sweep_figures
from nsmt.reporting.sweep_tables import RunScores, Setting, SweepScores, sweep_tables
from nsmt.reporting.tables import MISSING, save_tables
from nsmt.settings import Settings, flat

TABLE: Final = "table"
_SEED: Final = "seed"


class SweepTableConfig(Settings):
    """All of `nsmt sweep table`."""

    sweep: str | None = Field(None, description="a sweep's folder; null: all runs of paths.runs")
    where: dict[str, Any] = Field(
        default_factory=dict, description="only runs with these settings: where.selection.k=90"
    )
    keys: tuple[str, ...] | None = Field(
        None, description="what makes a setting; null: all that differs between the runs"
    )
    reference: dict[str, Any] = Field(
        default_factory=dict,
        description="the setting that others are compared with: reference.selection.k=95; none: "
        "the first",
    )
    group: str | None = Field(None, description="of which directions; null: all")
    output: str | None = Field(None, description="null: below the sweep, or with the sweeps")
    paths: PathSettings


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run's folder, the settings that decide its numbers, and whether it came to its end."""

    folder: Path
    config: RunConfig
    settings: Mapping[str, str]
    fingerprint: str
    finished: bool


def sweep_table(config: SweepTableConfig) -> Path:
    """Write and show the tables and figures; the folder they are in."""
    where = _texts(flat(config.where))
    runs = [run for run in _runs(config) if all(_same(_of(run, k), v) for k, v in where.items())]
    finished = [run for run in runs if run.finished]
    _tell_unfinished(runs)
    if not finished:
        raise DataError(
            f"no finished run in {config.sweep or config.paths.runs}"
            + "".join(f", {key}={value}" for key, value in where.items()),
            fix="run the sweep's command again to go on with it, or choose other runs",
        )
    scores = _scores(finished, config)
    tables = sweep_tables(
        scores,
        control=_control(scores),
        reference=_reference(scores, _texts(flat(config.reference))),
    )
    into = _output(config)
    save_tables(tables, into)
    for name, figure in sweep_figures(scores):
        save_figure(figure, into / "figures", name)
    out = result_console()
    for table in tables.values():
        out.print(table.to_rich())
    out.print(f"tables and figures: {into.resolve()}", soft_wrap=True, markup=False)
    return into


def _runs(config: SweepTableConfig) -> list[FoundRun]:
    if config.sweep is None:
        place = Path(config.paths.runs)
        folders = sorted(path.parent for path in place.glob(f"*/{RECORD}"))
        return [_found(folder, None) for folder in folders]
    sweep = Sweep(Path(config.sweep))
    jobs = sweep.jobs()
    if not jobs:
        raise ConfigurationError(
            f"sweep={config.sweep} is not the folder of a sweep",
            fix=f"name one of {Path(config.paths.runs) / SWEEPS}",
        )
    words = {job.number: dict(_parted(job.overrides)) for job in jobs}
    swept = {
        key
        for of_job in words.values()
        for key in of_job
        if len({other.get(key) for other in words.values()}) > 1
    }
    return [
        _found(Path(job.run), {k: v for k, v in words[job.number].items() if k in swept})
        for job in jobs
        if job.run is not None and (Path(job.run) / RECORD).is_file()
    ]


def _found(folder: Path, swept: Mapping[str, str] | None) -> FoundRun:
    """A run by its certificate; of a sweep, what was swept says more than what that decided."""
    record = read_record(folder)
    config = begun_config(folder, record)
    settings = swept if swept is not None else _texts(flat(config.identity()))
    return FoundRun(folder, config, settings, str(record["data_fingerprint"]), "finished" in record)


def _scores(runs: Sequence[FoundRun], config: SweepTableConfig) -> SweepScores:
    keys = config.keys if config.keys is not None else _differing(runs)
    labels: dict[str, str] = {}
    signatures: dict[str, str] = {}
    texts: dict[Setting, str] = {}
    found: dict[tuple[Setting, int], RunScores] = {}
    for run in runs:
        setting = tuple(_of(run, key) for key in keys)
        if (place := (setting, run.config.seed)) in found:
            raise ConfigurationError(
                f"{run.folder} has the setting and the seed of another run, which differ in "
                "something else",
                fix="choose runs by where.KEY=VALUE, or name all keys that tell them apart",
            )
        if texts.setdefault(setting, run.fingerprint) != run.fingerprint:
            raise DataError(
                f"{run.folder} was trained on other text than runs of the same setting",
                fix="choose runs by where.KEY=VALUE, or train it again",
            )
        comparison = _comparison(run.folder)
        group = _group(comparison, config.group, run.folder)
        signatures |= comparison.signatures
        systems = row_order(comparison)
        labels |= {system.name: system.label for system in systems}
        found[place] = RunScores(
            setting, run.config.seed, {s.name: _means(s, comparison, group) for s in systems}
        )
    return SweepScores(
        tuple(keys), tuple(found.values()), labels, signatures, config.group or "All"
    )


def _means(system: SystemResult, comparison: Comparison, group: Group) -> dict[str, float]:
    found = {metric: system.mean(metric, group.directions) for metric in comparison.metrics}
    return {metric: value for metric, value in found.items() if value is not None}


def _comparison(folder: Path) -> Comparison:
    """Against the control, or else the dense model: both have the scores of every system."""
    for baseline in (CONTROL, DENSE):
        path = comparison_path(folder, baseline)
        if path.is_file():
            return Comparison.from_json(path.read_text(encoding="utf-8"))
    raise DataError(f"{folder} has lost its results", fix=f"evaluate.py run={folder}")


def _group(comparison: Comparison, name: str | None, folder: Path) -> Group:
    for group in comparison.groups:
        if group.name == name or (name is None and group.kind == "all"):
            return group
    names = ", ".join(group.name for group in comparison.groups)
    raise ConfigurationError(f"group={name} is not in {folder}", fix=f"choose one of {names}")


def _control(scores: SweepScores) -> str:
    return CONTROL if CONTROL in scores.systems else DENSE


def _reference(scores: SweepScores, wanted: Mapping[str, str]) -> Setting:
    for setting in scores.settings:
        parts = dict(zip(scores.keys, setting, strict=True))
        if all(key in parts and _same(parts[key], value) for key, value in wanted.items()):
            return setting
    asked = ", ".join(f"{key}={value}" for key, value in wanted.items())
    raise ConfigurationError(
        f"{asked} is no setting of these runs",
        fix=f"name values of {', '.join(scores.keys) or 'a swept key'} as reference",
    )


def _of(run: FoundRun, key: str) -> str:
    """The value of a key of a run, as text; ConfigurationError if runs have no such key."""
    if key in run.settings:
        return run.settings[key]
    known = _texts(flat(run.config.model_dump(mode="json")))
    if key not in known and key in key_paths(RunConfig):
        # It belongs to another choice, of a method or of data.
        return MISSING
    if key not in known:
        raise ConfigurationError(
            f"'{key}' is no setting of {run.folder}", fix="name keys as on the command line"
        )
    return known[key]


def _differing(runs: Sequence[FoundRun]) -> tuple[str, ...]:
    keys = dict.fromkeys(key for run in runs for key in run.settings)
    return tuple(
        key for key in keys if key != _SEED and len({run.settings.get(key) for run in runs}) > 1
    )


def _parted(words: Iterable[str]) -> Iterable[tuple[str, str]]:
    for word in words:
        key, _, value = word.partition("=")
        yield key.lstrip("+"), value.strip("'\"")


def _texts(settings: Iterable[tuple[str, Any]]) -> dict[str, str]:
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in settings
    }


def _same(text: str, other: str) -> bool:
    """Whether two texts are one value: 90 is 90.0."""
    return text == other or bool(yaml.safe_load(text) == yaml.safe_load(other))


def _tell_unfinished(runs: Sequence[FoundRun]) -> None:
    for run in runs:
        if not run.finished:
            reason = failure_reason(run.folder)
            state = "is not finished" if reason is None else f"failed: {reason}"
            console.print(f"left out: {run.folder} {state}", markup=False, soft_wrap=True)


def _output(config: SweepTableConfig) -> Path:
    if config.output is not None:
        return Path(config.output)
    return (Path(config.sweep) if config.sweep else Path(config.paths.runs) / SWEEPS) / TABLE
