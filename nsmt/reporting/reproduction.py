"""The rows of one of the paper's tables, measured here: systems over seeds, and what is missing.

Every run has the dense model, the control and one method, so a method's difference to the control
is taken inside its own run, by seed. Nothing here reads files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.evaluation.significance import Difference
from nsmt.languages import Direction, LanguageTable
from nsmt.methods import CONTROL, DENSE


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that came to its end, with its comparisons by baseline."""

    method: str
    seed: int
    against: Mapping[str, Comparison]


@dataclass(frozen=True, slots=True)
class Absence:
    """A row's run that is not there, and why."""

    method: str
    seed: int
    reason: str


@dataclass(frozen=True, slots=True)
class Reproduction:
    """All runs of a table under one condition.

    `methods` are the rows in the order of the table, without the dense model and the control, which
    every table has first. `of_paper` says whether corpus and model are the paper's.
    """

    methods: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    absent: tuple[Absence, ...]
    labels: Mapping[str, str]
    languages: LanguageTable
    pivot: str
    of_paper: bool = False

    @property
    def systems(self) -> list[str]:
        """Every row, the dense model and the control first."""
        return list(dict.fromkeys((DENSE, CONTROL, *self.methods)))

    @property
    def seeds(self) -> list[int]:
        """All seeds that were asked for."""
        done = {outcome.seed for outcome in self.outcomes}
        return sorted(done | {absence.seed for absence in self.absent})

    @property
    def directions(self) -> list[Direction]:
        """Every direction that any run translated."""
        comparisons = [each for outcome in self.outcomes for each in outcome.against.values()]
        return list(dict.fromkeys(d for each in comparisons for d in each.directions))

    @property
    def metrics(self) -> list[str]:
        """The metrics that every run has."""
        found = [each.metrics for outcome in self.outcomes for each in outcome.against.values()]
        return [m for m in (found[0] if found else []) if all(m in each for each in found)]

    @property
    def signatures(self) -> dict[str, str]:
        """The signature of each metric."""
        comparisons = [each for outcome in self.outcomes for each in outcome.against.values()]
        return {m: text for each in comparisons for m, text in each.signatures.items()}

    def label(self, system: str) -> str:
        """What tables call a system."""
        return self.labels.get(system, system.replace("_", " "))

    def comparison(self, system: str, seed: int, baseline: str) -> Comparison | None:
        """The comparison that holds a system of a seed.

        The dense model and the control are those of the base run; where that is missing, those of
        any other run of the seed.
        """
        runs = [each for each in self.outcomes if each.seed == seed]
        own = CONTROL if system in (DENSE, CONTROL) else system
        runs.sort(key=lambda each: each.method != own)
        for run in runs:
            found = run.against.get(baseline)
            if found is not None and any(each.name == system for each in found.systems):
                return found
        return None

    def system(self, name: str, seed: int) -> SystemResult | None:
        """The scores of a system trained with a seed."""
        for baseline in (CONTROL, DENSE):
            if (found := self.comparison(name, seed, baseline)) is not None:
                return found.system(name)
        return None

    def scores(self, name: str, metric: str, directions: Sequence[Direction]) -> dict[int, float]:
        """The mean over directions, by seed; seeds without it are left out."""
        systems = {seed: self.system(name, seed) for seed in self.seeds}
        means = {s: each.mean(metric, directions) for s, each in systems.items() if each}
        return {seed: value for seed, value in means.items() if value is not None}

    def differences(
        self, name: str, baseline: str, metric: str, directions: Sequence[Direction]
    ) -> dict[int, float]:
        """A system's mean minus the baseline's in the same run, by seed."""
        found = {}
        for seed in self.seeds:
            comparison = self.comparison(name, seed, baseline)
            if comparison is None or name == baseline:
                continue
            one = comparison.system(name).mean(metric, directions)
            other = comparison.system(baseline).mean(metric, directions)
            if one is not None and other is not None:
                found[seed] = one - other
        return found

    def bootstrap(
        self, name: str, seed: int, baseline: str, metric: str, group: str
    ) -> Difference | None:
        """The difference of a group with its interval over resampled sentences, of one run."""
        comparison = self.comparison(name, seed, baseline)
        if comparison is None:
            return None
        return comparison.by_group.get(name, {}).get(metric, {}).get(group)

    def missing(self) -> list[str]:
        """A line for each reason: which rows and seeds it keeps out of the tables."""
        by_reason: dict[tuple[str, str], list[int]] = {}
        for each in self.absent:
            by_reason.setdefault((each.method, each.reason), []).append(each.seed)
        return [
            f"missing: {self.label(method)}, seed {_listed(seeds)}: {reason}"
            for (method, reason), seeds in by_reason.items()
        ]


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
