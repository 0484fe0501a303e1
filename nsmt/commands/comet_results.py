"""COMET of a run, where `eval=comet` has left it below the run, with the run's other scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nsmt.commands.evaluations import EVALUATIONS
from nsmt.commands.score import comparison_path, resamples_path
from nsmt.errors import DataError
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.evaluation.significance import COMET_KEY
from nsmt.records import RECORD, read_record
from nsmt.reporting.reproduction import Outcome


def latest_comet(run: Path) -> Path | None:
    """The folder of the run's latest evaluation by COMET, if there is any."""
    places = sorted(
        (run / EVALUATIONS).glob(f"comet-*/{RECORD}"),
        key=lambda path: path.stat().st_mtime_ns,
    )
    return places[-1].parent if places else None


def with_comet(outcome: Outcome, run: Path) -> Outcome:
    """The outcome with COMET from the run's latest evaluation by it; as it is without any.

    Raises DataError if that was of other text: draws are told by the sizes of test sets alone.
    """
    place = latest_comet(run)
    if place is None:
        return outcome
    own, theirs = (read_record(each)["data_fingerprint"] for each in (run, place))
    if own != theirs:
        raise DataError(
            f"{place} is of other text than {run}",
            fix=f"delete it, and score the run again: evaluate.py eval=comet run={run}",
        )
    against = {
        baseline: _merged(comparison, path)
        if (path := comparison_path(place, baseline)).is_file()
        else comparison
        for baseline, comparison in outcome.against.items()
    }
    resamples, path = outcome.resamples, resamples_path(place)
    if resamples is not None and path.is_file():
        resamples = _with_resamples(resamples, Resamples.load(path))
    return replace(outcome, against=against, resamples=resamples)


def require_one_comet(outcomes: Sequence[Outcome]) -> None:
    """A DataError if runs that belong together were scored by different models."""
    signatures = {
        text
        for outcome in outcomes
        for comparison in outcome.against.values()
        if (text := comparison.signatures.get(COMET_KEY)) is not None
    }
    if len(signatures) > 1:
        raise DataError(
            f"COMET of these runs is of different models: {'; '.join(sorted(signatures))}",
            fix="score all of them with one: evaluate.py eval=comet run=FOLDER",
        )


def _merged(comparison: Comparison, path: Path) -> Comparison:
    scored = Comparison.from_json(path.read_text(encoding="utf-8"))
    by_name = {system.name: system for system in scored.systems}
    systems = [
        _with_scores(system, by_name[system.name]) if system.name in by_name else system
        for system in comparison.systems
    ]
    return replace(comparison, systems=tuple(systems))


def _with_scores(system: SystemResult, scored: SystemResult) -> SystemResult:
    if COMET_KEY not in scored.signatures:
        return system
    scores = {
        direction: {**of_metric, COMET_KEY: scored.scores[direction][COMET_KEY]}
        for direction, of_metric in system.scores.items()
    }
    signatures = {**system.signatures, COMET_KEY: scored.signatures[COMET_KEY]}
    return replace(system, scores=scores, signatures=signatures)


def _with_resamples(own: Resamples, scored: Resamples) -> Resamples:
    """Both, where the same sentences were drawn."""
    if own.drawn != scored.drawn:
        return own
    values = {
        system: {**of_metric, COMET_KEY: scored.values[system][COMET_KEY]}
        if COMET_KEY in scored.values.get(system, {})
        else of_metric
        for system, of_metric in own.values.items()
    }
    return Resamples(values, own.drawn)
