"""What systems put out, what they scored, and how they compare: the data that tables are made of.

Only the data: `nsmt.evaluation.comparison` makes it. On disk a comparison is JSON with a schema
version; the resamples themselves are not kept, a seed makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from nsmt.errors import DataError
from nsmt.evaluation.groups import Group
from nsmt.evaluation.scoring import check_parallel
from nsmt.evaluation.significance import OFF_TARGET_KEY, Difference, SentenceStatistics
from nsmt.languages import Direction

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False, slots=True)
class FurtherMetric:
    """A metric that is not made from hypotheses and references alone, with its signature."""

    statistics: SentenceStatistics
    signature: str


@dataclass(frozen=True, eq=False, slots=True)
class TestOutput:
    """A system's detokenised output for one test set, with its references.

    `nll` is the negative log-likelihood of each reference, summed over its `target_tokens`; both
    are there or neither is. `further` metrics are by name. Raises DataError if the lengths differ.
    """

    __test__: ClassVar[bool] = False

    hypotheses: Sequence[str]
    references: Sequence[str]
    nll: npt.NDArray[np.floating[Any]] | None = None
    target_tokens: npt.NDArray[np.integer[Any]] | None = None
    further: Mapping[str, FurtherMetric] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_parallel(self.hypotheses, self.references)
        arrays = [array for array in (self.nll, self.target_tokens) if array is not None]
        if len(arrays) == 1 or any(np.shape(a) != (len(self.references),) for a in arrays):
            raise DataError(
                "nll and target_tokens do not hold one value a sentence",
                fix="give both, with one sum for each reference, or neither",
            )
        for name, metric in self.further.items():
            if metric.statistics.sentences != len(self.references):
                raise DataError(
                    f"{name} was measured on {metric.statistics.sentences} sentences, not on the "
                    f"{len(self.references)} of the test set",
                    fix="measure it on the hypotheses as they are",
                )


@dataclass(frozen=True, slots=True)
class SystemResult:
    """The scores of a system: `scores[direction][metric]`, with the signature of each metric."""

    name: str
    label: str
    scores: Mapping[Direction, Mapping[str, float]]
    signatures: Mapping[str, str]

    def mean(self, metric: str, directions: Iterable[Direction]) -> float | None:
        """The mean over directions, or None if one of them has no such score.

        Off-target rates alone exist only into languages that the identifier knows: they are over
        those of the directions.
        """
        values = [self.scores.get(direction, {}).get(metric) for direction in directions]
        known = [value for value in values if value is not None]
        complete = len(known) == len(values) or metric == OFF_TARGET_KEY
        return sum(known) / len(known) if known and complete else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several systems against one baseline.

    `by_direction[system][metric][direction]` and `by_group[system][metric][group name]` hold the
    difference of every system but the baseline, wherever both have the metric.
    """

    baseline: str
    systems: tuple[SystemResult, ...]
    groups: tuple[Group, ...]
    by_direction: Mapping[str, Mapping[str, Mapping[Direction, Difference]]]
    by_group: Mapping[str, Mapping[str, Mapping[str, Difference]]]
    sentences: Mapping[Direction, int]
    samples: int
    seed: int
    together: bool = False

    @property
    def metrics(self) -> list[str]:
        """The metrics that every system has, in table order."""
        return [m for m in self.signatures if all(m in s.signatures for s in self.systems)]

    @property
    def signatures(self) -> dict[str, str]:
        """The signature of each metric that any system has."""
        return {m: text for system in self.systems for m, text in system.signatures.items()}

    @property
    def resampling(self) -> str:
        """How the intervals were made, in the manner of a sacreBLEU signature."""
        drawn = "together" if self.together else "independent"
        return f"paired-bs:{self.samples}|seed:{self.seed}|directions:{drawn}"

    @property
    def directions(self) -> list[Direction]:
        """All directions compared, in the order given."""
        return list(self.sentences)

    def system(self, name: str) -> SystemResult:
        """The system of that name; a KeyError if there is none."""
        return {system.name: system for system in self.systems}[name]

    def to_json(self) -> str:
        """The comparison as JSON text, read back by `from_json`."""
        return json.dumps(_comparison_to_plain(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Read what `to_json` wrote; DataError if it is something else."""
        try:
            plain = json.loads(text)
            if plain["schema"] != SCHEMA_VERSION:
                raise ValueError(f"schema {plain['schema']}, expected {SCHEMA_VERSION}")
            return _comparison_from_plain(plain)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"this is not a comparison of systems ({error})",
                fix="compare the systems again with this version of nsmt",
            ) from error


def _comparison_to_plain(comparison: Comparison) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "baseline": comparison.baseline,
        "samples": comparison.samples,
        "seed": comparison.seed,
        "together": comparison.together,
        "sentences": _text_keys(comparison.sentences),
        "groups": [
            {"name": g.name, "kind": g.kind, "directions": [str(d) for d in g.directions]}
            for g in comparison.groups
        ],
        "systems": [
            {
                "name": system.name,
                "label": system.label,
                "signatures": dict(system.signatures),
                "scores": _text_keys(system.scores),
            }
            for system in comparison.systems
        ],
        "by_direction": _differences_to_plain(comparison.by_direction),
        "by_group": _differences_to_plain(comparison.by_group),
    }


def _comparison_from_plain(plain: Mapping[str, Any]) -> Comparison:
    return Comparison(
        baseline=plain["baseline"],
        systems=tuple(
            SystemResult(s["name"], s["label"], _direction_keys(s["scores"]), s["signatures"])
            for s in plain["systems"]
        ),
        groups=tuple(
            Group(g["name"], tuple(Direction.parse(d) for d in g["directions"]), g["kind"])
            for g in plain["groups"]
        ),
        by_direction={
            system: {metric: _direction_keys(found) for metric, found in of_metric.items()}
            for system, of_metric in _differences_from_plain(plain["by_direction"]).items()
        },
        by_group=_differences_from_plain(plain["by_group"]),
        sentences=_direction_keys(plain["sentences"]),
        samples=plain["samples"],
        seed=plain["seed"],
        together=plain["together"],
    )


def _differences_to_plain(
    differences: Mapping[str, Mapping[str, Mapping[Any, Difference]]],
) -> dict[str, Any]:
    return {
        system: {
            metric: {str(key): asdict(found) for key, found in of_key.items()}
            for metric, of_key in of_metric.items()
        }
        for system, of_metric in differences.items()
    }


def _differences_from_plain(
    plain: Mapping[str, Any],
) -> dict[str, dict[str, dict[str, Difference]]]:
    return {
        system: {
            metric: {key: Difference(**found) for key, found in of_key.items()}
            for metric, of_key in of_metric.items()
        }
        for system, of_metric in plain.items()
    }


def _text_keys(mapping: Mapping[Direction, Any]) -> dict[str, Any]:
    return {str(direction): value for direction, value in mapping.items()}


def _direction_keys(mapping: Mapping[str, Any]) -> dict[Direction, Any]:
    return {Direction.parse(text): value for text, value in mapping.items()}
