"""Scoring systems and comparing them with baselines by the paired bootstrap.

Every comparison is paired: all systems are scored on the same resampled test sets, direction by
direction. A group's score is the mean over its directions, as in the paper's tables, and its
interval comes from the same mean on resamples. Directions are resampled independently of each
other unless `together`, for multi-parallel test sets whose sentences vary in difficulty in all
languages at once. The paper reports no variance; a gain that it calls a gain has an interval here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.groups import Group
from nsmt.evaluation.resamples import Resamples, draw_name
from nsmt.evaluation.results import Comparison, SystemResult, TestOutput
from nsmt.evaluation.scoring import DEFAULT_TOKENIZER, metrics, signature_of
from nsmt.evaluation.significance import (
    NLL_KEY,
    OFF_TARGET_KEY,
    Difference,
    Floats,
    SentenceStatistics,
    Units,
    likelihood_statistics,
    resample,
    summarise,
    text_statistics,
    units_of,
)
from nsmt.languages import Direction

_NLL_SIGNATURE = "natural logarithm, per target token, teacher-forced"

# Hears of each direction that was measured, and again of each that was resampled.
Advance = Callable[[], object]

Measured = Mapping[str, Mapping[Direction, Mapping[str, SentenceStatistics]]]
Drawn = Mapping[str, Mapping[str, Mapping[Direction, Floats]]]


def draw_all(
    systems: Mapping[str, Mapping[Direction, TestOutput]],
    *,
    baselines: Sequence[str],
    groups: Sequence[Group],
    samples: int,
    seed: int,
    labels: Mapping[str, str] | None = None,
    together: bool = False,
    tokenizer: str = DEFAULT_TOKENIZER,
    meanings: Mapping[Direction, Sequence[str]] | None = None,
    advance: Advance = lambda: None,
) -> tuple[dict[str, Comparison], Resamples]:
    """The comparisons by baseline, and the scores on the resamples that they are made from.

    `meanings` tell which sentences of different directions say the same, where test sets overlap
    without being equal: they are drawn together. `advance` is called twice a direction.

    Raises DataError unless all systems translated the same sentences in the same directions, and
    ConfigurationError if a baseline or a group names what was not evaluated.
    """
    _check_comparable(systems, baselines=baselines, groups=groups)
    measured = _measure(systems, tokenizer=tokenizer, advance=advance)
    results = tuple(
        _result(name, (labels or {}).get(name, name), measured[name], outputs, tokenizer=tokenizer)
        for name, outputs in systems.items()
    )
    sentences = {d: len(out.references) for d, out in next(iter(systems.values())).items()}
    units = None if meanings is None else units_of(meanings)
    together = together or units is not None
    drawn = _draw(
        measured,
        sentences,
        samples=samples,
        seed=seed,
        together=together,
        units=units,
        advance=advance,
    )
    comparisons = {}
    for base in (result for name in baselines for result in results if result.name == name):
        found = {
            system.name: _compare_with(base, system, drawn, groups=groups)
            for system in results
            if system is not base
        }
        comparisons[base.name] = Comparison(
            baseline=base.name,
            systems=results,
            groups=tuple(groups),
            by_direction={name: by_direction for name, (by_direction, _) in found.items()},
            by_group={name: by_group for name, (_, by_group) in found.items()},
            sentences=sentences,
            samples=samples,
            seed=seed,
            together=together,
        )
    name = draw_name(sentences, samples=samples, seed=seed, together=together, units=units)
    return comparisons, Resamples(drawn, name)


def measure(
    systems: Mapping[str, Mapping[Direction, TestOutput]],
    *,
    labels: Mapping[str, str] | None = None,
    tokenizer: str = DEFAULT_TOKENIZER,
    advance: Advance = lambda: None,
) -> list[SystemResult]:
    """The scores of each system by itself; systems may cover different directions.

    `advance` is called once for each system and direction.
    """
    return [
        _result(
            name,
            (labels or {}).get(name, name),
            _measure({name: outputs}, tokenizer=tokenizer, advance=advance)[name],
            outputs,
            tokenizer=tokenizer,
        )
        for name, outputs in systems.items()
    ]


def _check_comparable(
    systems: Mapping[str, Mapping[Direction, TestOutput]],
    *,
    baselines: Sequence[str],
    groups: Sequence[Group],
) -> None:
    unknown = [name for name in baselines if name not in systems]
    if unknown or not systems:
        raise ConfigurationError(
            f"no outputs of the baseline {', '.join(unknown)}" if unknown else "no systems given",
            fix=f"compare with one of {', '.join(systems)}" if systems else "evaluate a system",
        )
    first = next(iter(systems))
    for other in systems:
        _check_same_test_sets((first, systems[first]), (other, systems[other]))
    _check_groups(groups, evaluated=systems[first])


def _check_same_test_sets(
    first: tuple[str, Mapping[Direction, TestOutput]],
    other: tuple[str, Mapping[Direction, TestOutput]],
) -> None:
    lacking = sorted(map(str, first[1].keys() ^ other[1].keys()))
    if lacking:
        raise DataError(
            f"only one of '{first[0]}' and '{other[0]}' has outputs for {', '.join(lacking)}",
            fix="evaluate all systems on the same directions",
        )
    for direction, output in other[1].items():
        if list(output.references) != list(first[1][direction].references):
            raise DataError(
                f"'{first[0]}' and '{other[0]}' have different references for {direction}",
                fix="evaluate all systems on the same test sets",
            )


def _check_groups(groups: Sequence[Group], *, evaluated: Collection[Direction]) -> None:
    strangers = sorted({str(d) for g in groups for d in g.directions if d not in evaluated})
    if strangers:
        raise ConfigurationError(
            f"groups name directions that were not evaluated: {', '.join(strangers)}",
            fix="group only directions that were evaluated",
        )
    if len({group.name for group in groups}) != len(groups):
        raise ConfigurationError(
            "two groups of directions have the same name",
            fix="give tiers and families names that differ",
        )


def _measure(
    systems: Mapping[str, Mapping[Direction, TestOutput]], *, tokenizer: str, advance: Advance
) -> dict[str, dict[Direction, dict[str, SentenceStatistics]]]:
    measured: dict[str, dict[Direction, dict[str, SentenceStatistics]]] = {s: {} for s in systems}
    for direction in next(iter(systems.values())):
        outputs = {name: of_system[direction] for name, of_system in systems.items()}
        references = next(iter(outputs.values())).references
        texts = {name: output.hypotheses for name, output in outputs.items()}
        for name, of_metric in text_statistics(texts, references, tokenizer=tokenizer).items():
            measured[name][direction] = of_metric
        for name, output in outputs.items():
            if output.nll is not None and output.target_tokens is not None:
                statistics = likelihood_statistics(output.nll, output.target_tokens)
                measured[name][direction][NLL_KEY] = statistics
            for metric, further in output.further.items():
                measured[name][direction][metric] = further.statistics
        advance()
    return measured


def _result(
    name: str,
    label: str,
    measured: Mapping[Direction, Mapping[str, SentenceStatistics]],
    outputs: Mapping[Direction, TestOutput],
    *,
    tokenizer: str,
) -> SystemResult:
    scores = {
        direction: {metric: entry.corpus_value() for metric, entry in of_metric.items()}
        for direction, of_metric in measured.items()
    }
    signatures = {key: signature_of(m) for key, m in metrics(tokenizer=tokenizer).items()}
    if scores and all(NLL_KEY in of_metric for of_metric in scores.values()):
        signatures[NLL_KEY] = _NLL_SIGNATURE
    further = {key: m.signature for out in outputs.values() for key, m in out.further.items()}
    complete = {key for key in further if all(key in of_metric for of_metric in scores.values())}
    # Some directions have none by their languages, in all systems alike.
    complete |= {OFF_TARGET_KEY} & further.keys()
    signatures |= {key: text for key, text in further.items() if key in complete}
    return SystemResult(name, label, scores, signatures)


def _draw(
    measured: Measured,
    sentences: Mapping[Direction, int],
    *,
    samples: int,
    seed: int,
    together: bool,
    units: Mapping[Direction, Units] | None,
    advance: Advance,
) -> Drawn:
    """Scores on resampled test sets: [system][metric][direction] -> [samples]."""
    if together and units is None and len(set(sentences.values())) > 1:
        raise ConfigurationError(
            "directions with test sets of different sizes cannot be resampled together",
            fix="resample them independently, or use a multi-parallel test set",
        )
    drawn: dict[str, dict[str, dict[Direction, Floats]]] = {name: {} for name in measured}
    for direction in sentences:
        entries = {
            (name, metric): entry
            for name, of_system in measured.items()
            for metric, entry in of_system[direction].items()
        }
        stream = "" if together else str(direction)
        of_direction = None if units is None else units[direction]
        for (name, metric), values in resample(
            entries, samples=samples, seed=seed, stream=stream, units=of_direction
        ).items():
            drawn[name].setdefault(metric, {})[direction] = values
        advance()
    return drawn


def _compare_with(
    base: SystemResult,
    system: SystemResult,
    drawn: Drawn,
    *,
    groups: Sequence[Group],
) -> tuple[dict[str, dict[Direction, Difference]], dict[str, dict[str, Difference]]]:
    """The differences by direction and by group, for each metric that both systems have."""
    by_direction: dict[str, dict[Direction, Difference]] = {}
    by_group: dict[str, dict[str, Difference]] = {}
    for metric in (m for m in system.signatures if m in base.signatures):
        theirs, ours = drawn[base.name][metric], drawn[system.name][metric]
        observed = {
            d: scores[metric] - base.scores[d][metric]
            for d, scores in system.scores.items()
            if metric in scores and metric in base.scores[d]
        }
        resampled = {d: ours[d] - theirs[d] for d in observed}
        by_direction[metric] = {d: summarise(observed[d], resampled[d]) for d in observed}
        by_group[metric] = {
            group.name: _mean_difference(known, observed, resampled)
            for group in groups
            if (known := [d for d in group.directions if d in observed])
        }
    return by_direction, by_group


def _mean_difference(
    directions: Sequence[Direction],
    observed: Mapping[Direction, float],
    resampled: Mapping[Direction, Floats],
) -> Difference:
    mean = sum(observed[d] for d in directions) / len(directions)
    return summarise(mean, np.mean([resampled[d] for d in directions], axis=0))
