"""A search over settings: Optuna proposes, jobs train, the study on disk remembers.

The objective is read from a run's validation metrics, never from its test sets. A search that is
begun again goes on: trials that were running are begun again with their values, which finds their
runs where they stand, and new ones are added until there are as many results as asked. Trials that
failed come last, once a start, and not where training itself failed: it would fail again.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from nsmt.commands.sweeps import Job
from nsmt.errors import ConfigurationError, DataError, TrainingError
from nsmt.files import replace_text
from nsmt.progress import result_console
from nsmt.records import read_record
from nsmt.settings import Count, Settings

JOURNAL: Final = "optuna.journal"
RESULT: Final = "search.json"
# How a trial without a result ended, as the study knows it; those without a word failed.
_ENDED: Final = "ended"
_STOPPED, _FAILED, _HOPELESS = "stopped", "failed", TrainingError.__name__
Launch = Callable[[Sequence[Mapping[str, str]], int], list[Any]]


class SearchSettings(Settings):
    """conf/hydra/sweeper/search.yaml, without the class that Hydra needs."""

    n_trials: Count = Field(description="results in the end, earlier ones included")
    n_jobs: Count = Field(1, description="trials proposed at a time, for launchers side by side")
    patience: Count = Field(5, description="failures in a row before the search ends")
    metric: str = Field("valid/nll", description="a column of metrics.csv")
    stage: str | None = Field(None, description="of which stage; null: a run's last")
    best: bool = Field(default=True, description="its best value, or its last")
    direction: Literal["minimize", "maximize"] = "minimize"
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Annotated[int, Field(ge=0)] = 1
    params: None = Field(None, description="taken as overrides before a sweeper sees them")


def search(
    given: Mapping[str, Any], overrides: Sequence[Any], *, launch: Launch, folder: Path
) -> list[Any]:
    """Run trials until there are enough results; what the launcher returned, batch by batch.

    `overrides` are Hydra's, parsed: those of several values are searched, the others are fixed.
    """
    settings = _settings(given)
    # Hydra got a sign before keys that no YAML file mentions; the study knows them without.
    signed = {o.key_or_group: o.get_key_element() for o in overrides if o.is_sweep_override()}
    space = {o.key_or_group: _distribution(o) for o in overrides if o.is_sweep_override()}
    fixed = {
        o.get_key_element(): o.get_value_element_as_str()
        for o in overrides
        if not o.is_sweep_override()
    }
    if not space:
        raise ConfigurationError(
            "hydra/sweeper=search has nothing to search over",
            fix="add a key, as in 'optimizer.learning_rate=tag(log,interval(1e-4,1e-2))'",
        )
    study = _study(settings, folder / JOURNAL)
    returned: list[Any] = []
    failures = 0
    first, last = _left_over(study)
    while (missing := settings.n_trials - _results(study)) > 0 and failures < settings.patience:
        batch = []
        for left in range(missing, max(missing - settings.n_jobs, 0), -1):
            if first:
                study.enqueue_trial(first.pop(0))
            elif len(last) >= left:
                study.enqueue_trial(last.pop(0))
            batch.append(study.ask(space))
        jobs = [fixed | {signed[key]: _text(trial.params[key]) for key in space} for trial in batch]
        results = launch(jobs, batch[0].number)
        values = [_value(result.return_value, settings) for result in results]
        for trial, result, value in zip(batch, results, values, strict=True):
            _tell(study, trial, result.return_value, value)
            failures = failures + 1 if value is None else 0
        returned.append(results)
        if any(_ended(result.return_value) == _STOPPED for result in results):
            # Somebody wants an end.
            break
    _conclude(study, folder)
    return returned


def objective(run: Path, *, metric: str, stage: str | None, best: str | None) -> float:
    """The metric of a run's stage; `best` is minimize, maximize, or None for the last value."""
    stages = read_record(run).get("stages") or []
    name = stage or (stages[-1] if stages else "")
    path = run / name / "metrics.csv"
    if not name or not path.is_file():
        raise DataError(f"{run} has no metrics of the stage '{name}'", fix="name another stage")
    with path.open(encoding="utf-8", newline="") as file:
        values = [float(row[metric]) for row in csv.DictReader(file) if row.get(metric)]
    if not values:
        raise DataError(f"{path} has no column '{metric}'", fix="name another metric")
    if best is None:
        return values[-1]
    return min(values) if best == "minimize" else max(values)


def _settings(given: Mapping[str, Any]) -> SearchSettings:
    try:
        return SearchSettings.model_validate(dict(given))
    except ValidationError as error:
        faults = [
            f"  - hydra.sweeper.{'.'.join(map(str, e['loc']))}={e['input']}: {e['msg'].lower()}"
            for e in error.errors(include_url=False)
        ]
        raise ConfigurationError(
            "the search is not set up:\n" + "\n".join(faults),
            fix="see conf/hydra/sweeper/search.yaml",
        ) from None


def _study(settings: SearchSettings, journal: Path) -> Any:  # noqa: ANN401 -- Optuna's, an extra
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="search",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        direction=settings.direction,
        load_if_exists=True,
    )
    # A sampler begins anew with its seed, and would propose the first values again.
    seed = settings.seed + len(study.trials)
    samplers = optuna.samplers
    study.sampler = (
        samplers.TPESampler(seed=seed)
        if settings.sampler == "tpe"
        else samplers.RandomSampler(seed=seed)
    )
    return study


def _distribution(override: Any) -> Any:  # noqa: ANN401 -- Hydra's, and Optuna's
    from hydra.core.override_parser.types import IntervalSweep, RangeSweep
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start, value.end, "log" in value.tags
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    if isinstance(value, RangeSweep) and isinstance(numbers := value.range(), range):
        return IntDistribution(numbers[0], numbers[-1], step=numbers.step)
    # As they are written, so that null, texts and lists stay what they are.
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _text(value: Any) -> str:  # noqa: ANN401 -- a proposed value
    return repr(value) if isinstance(value, float) else str(value)


def _value(result: Any, settings: SearchSettings) -> float | None:  # noqa: ANN401
    """The objective of a job; None if it has none."""
    if not isinstance(result, Job) or result.state != "finished" or result.run is None:
        return None
    best = settings.direction if settings.best else None
    value = objective(Path(result.run), metric=settings.metric, stage=settings.stage, best=best)
    return value if math.isfinite(value) else None


def _tell(study: Any, trial: Any, result: Any, value: float | None) -> None:  # noqa: ANN401
    from optuna.trial import TrialState

    if isinstance(result, Job) and result.run is not None:
        trial.set_user_attr("run", result.run)
    if value is None:
        trial.set_user_attr(_ENDED, _ended(result))
        study.tell(trial, state=TrialState.FAIL)
    else:
        study.tell(trial, value)


def _ended(result: Any) -> str:  # noqa: ANN401
    """How a job without a value ended."""
    if isinstance(result, Job) and result.state == "stopped":
        return _STOPPED
    if isinstance(result, Job) and (result.state == "finished" or result.error == _HOPELESS):
        # One that is finished has a value that is no finite number.
        return _HOPELESS
    return _FAILED


def _left_over(study: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # noqa: ANN401
    """The values of trials without a result, which end here: of those to begin with, and last."""
    from optuna.trial import TrialState

    closed: list[dict[str, Any]] = []
    first: list[dict[str, Any]] = []
    last: list[dict[str, Any]] = []
    for trial in study.trials:
        ended = trial.user_attrs.get(_ENDED, _FAILED)
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
            ended = _STOPPED
        if trial.state == TrialState.COMPLETE or ended == _HOPELESS:
            closed.append(trial.params)
        elif trial.params:
            (first if ended == _STOPPED else last).append(trial.params)
    first = [values for n, values in enumerate(first) if values not in [*closed, *first[:n]]]
    done = [*closed, *first]
    last = [values for n, values in enumerate(last) if values not in [*done, *last[:n]]]
    return first, last


def _results(study: Any) -> int:  # noqa: ANN401
    from optuna.trial import TrialState

    return len(study.get_trials(states=(TrialState.COMPLETE,), deepcopy=False))


def _conclude(study: Any, folder: Path) -> None:  # noqa: ANN401
    """Put down the best result and say it."""
    if not _results(study):
        return
    best = study.best_trial
    result = {
        "schema": 1,
        "best": {"value": best.value, "values": best.params, "run": best.user_attrs.get("run")},
        "results": _results(study),
    }
    replace_text(folder / RESULT, json.dumps(result, indent=1) + "\n")
    values = " ".join(f"{key}={value}" for key, value in best.params.items())
    result_console().print(
        f"best of {_results(study)}: {best.value:g} with {values}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
