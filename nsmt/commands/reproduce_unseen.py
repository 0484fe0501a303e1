"""The table of unseen directions: every finished run of a reproduction, evaluated by itself.

An evaluation is that of `evaluate eval=zero_shot run=FOLDER`, in the same folder, with the settings
that the scale has for it. One that is finished is not made again, and what a run has in common with
the base run of its seed is translated once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from nsmt.commands.evaluations import EvaluateConfig, alone_at, results_of
from nsmt.commands.reproduce_plan import PLAIN, Plan
from nsmt.commands.reproduce_results import Found, kept_scores
from nsmt.commands.translations import TRANSLATIONS, link_translations
from nsmt.commands.zero_shot import judge_of, zero_shot
from nsmt.commands.zero_shot_report import EVERYTHING
from nsmt.errors import DataError, NsmtError, PreemptionError
from nsmt.evaluation.significance import OFF_TARGET_KEY
from nsmt.evaluation.zero_shot import unseen_directions
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.reproduction import Absence, Outcome, Reproduction
from nsmt.reporting.unseen_tables import Unseen
from nsmt.reporting.zero_shot_tables import REFERENCES

Row = tuple[str, int]
_MISSING: Final = "was not evaluated on unseen directions; without collect=true it is"


def require_judge(plan: Plan) -> None:
    """Find what an evaluation lacks before anything is trained: languages, or the identifier."""
    settings = plan.scale.zero_shot
    data = plan.config(plan.plain, CONTROL, plan.seeds[0]).data
    languages = data.language_table()
    unseen_directions(settings.languages, languages, pivot=data.pivot)
    judge_of(settings, languages, pivot=data.pivot)


def evaluate_unseen(plan: Plan, found: Found) -> dict[Row, str]:
    """Evaluate the runs that have not been; why those that cannot be are not, by row."""
    failed = {}
    for row, folder in _runs(found):
        config = _asked(plan, folder)
        try:
            into, finished = results_of(config)
            if finished:
                continue
            base = found.folders.get((PLAIN, CONTROL, row[1]), folder)
            if base != folder:
                theirs, _ = results_of(_asked(plan, base))
                with alone_at(folder, into):
                    for name in (DENSE, CONTROL):
                        # Kept only for what made them, so other models translate again.
                        link_translations(theirs / TRANSLATIONS, name, into / TRANSLATIONS)
            zero_shot(config, plan.scale.zero_shot)
        except PreemptionError:
            raise
        except NsmtError as error:
            failed[row] = f"{error.problem} (fix: {error.fix})"
    return failed


def count_evaluated(plan: Plan, found: Found) -> int:
    """How many of the finished runs are evaluated."""
    return sum(results_of(_asked(plan, folder))[1] for _, folder in _runs(found))


def gather_unseen(plan: Plan, found: Found, failed: Mapping[Row, str]) -> Unseen:
    """What the evaluations found; those that are missing are named, by `failed` with why.

    DataError if there is none.
    """
    trained = found.results[PLAIN]
    outcomes, absent, places = list[Outcome](), list(trained.absent), list[Path]()
    for outcome in trained.outcomes:
        row = outcome.method, outcome.seed
        place, finished = results_of(_asked(plan, found.folders[PLAIN, *row]))
        if not finished:
            absent.append(Absence(*row, failed.get(row, _MISSING)))
            continue
        against, resamples = kept_scores(place)
        outcomes.append(replace(outcome, against=against, resamples=resamples))
        places.append(place)
    if not outcomes:
        raise DataError(
            "no run was evaluated on unseen directions: "
            + "; ".join(dict.fromkeys(each.reason for each in absent)),
            fix="run the command without collect=true, or mend what the evaluations say",
        )
    result = replace(trained, outcomes=tuple(outcomes), absent=tuple(absent))
    return _read(_with_variants(result), places)


def _with_variants(result: Reproduction) -> Reproduction:
    """With a row for factorised sets where they differ from the merged ones of the same weights."""
    there = {
        system.name: system.label
        for outcome in result.outcomes
        for comparison in outcome.against.values()
        for system in comparison.systems
    }
    methods = [
        name
        for method in result.methods
        for name in (method, *(each for each in there if each.startswith(f"{method}-")))
    ]
    return replace(result, methods=tuple(methods), labels={**result.labels, **there})


def _read(result: Reproduction, places: Sequence[Path]) -> Unseen:
    """What all evaluations share: directions, those left out, and how the references fare.

    DataError if they do not: the mean of runs on different test sets is none of either.
    """
    first, *others = [_shared(place) for place in places]
    for place, other in zip(places[1:], others, strict=True):
        if other != first:
            raise DataError(
                f"{place} has other test sets than {places[0]}, or another identifier",
                fix="delete the folder of the one that is out of date, and run the command again",
            )
    sentences, left_out, references, unidentified = first
    directions = tuple(map(Direction.parse, sentences))
    return Unseen(result, directions, left_out, references, unidentified)


def _shared(
    place: Path,
) -> tuple[dict[str, int], tuple[str, ...], float | None, tuple[str, ...]]:
    """Sentences by unseen direction, directions left out, and the references' off-target rate.

    Last, the languages that were not identified, of which older evaluations had none.
    """
    told = json.loads((place / EVERYTHING).read_text(encoding="utf-8"))
    entries: dict[str, Any] = told["directions"]
    unseen = {name: entry for name, entry in entries.items() if not entry["trained"]}
    rates = [
        entry[REFERENCES]["rates"][OFF_TARGET_KEY] for entry in unseen.values() if entry[REFERENCES]
    ]
    return (
        {name: entry["sentences"] for name, entry in unseen.items()},
        tuple(told["too_small"]),
        sum(rates) / len(rates) if rates else None,
        tuple(told.get("unidentified", ())),
    )


def _runs(found: Found) -> Iterator[tuple[Row, Path]]:
    """The finished runs of the plain condition, those of the control first."""
    for (condition, method, seed), folder in found.folders.items():
        if condition == PLAIN:
            yield (method, seed), folder


def _asked(plan: Plan, folder: Path) -> EvaluateConfig:
    """What `evaluate eval=zero_shot run=FOLDER` would be told."""
    run = plan.config(plan.plain, CONTROL, plan.seeds[0])
    return EvaluateConfig(
        eval=plan.scale.zero_shot,
        run=str(folder),
        progress=run.callbacks.progress,
        paths=run.paths,
    )
