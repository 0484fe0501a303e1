"""The rows of one of the paper's tables, measured here: systems over seeds, and what is missing.

Every run has the dense model, the control and one method, so a method's difference to the control
is taken inside its own run, by seed; that to another method between two runs of the seed. Both are
paired by sentence: the runs kept their scores on the same resamples. Nothing here reads files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nsmt.evaluation.groups import table_order
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import Comparison, SystemResult
from nsmt.evaluation.seeds import Pooled, SeedDifference, seed_difference
from nsmt.evaluation.significance import Difference, Floats, summarise
from nsmt.languages import Direction, LanguageTable
from nsmt.methods import CONTROL, DENSE


@dataclass(frozen=True, slots=True)
class Trained:
    """What a system was trained to be: all its parameters, and the updates of its own stage.

    A system of several models has the updates of each, every number once; `tuning` are those of the
    models that were trained for its masks alone.
    """

    parameters: int | None
    updates: tuple[int, ...]
    tuning: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that came to its end, with its comparisons by baseline and what they were drawn from.

    `trained` are its systems by name.
    """

    method: str
    seed: int
    against: Mapping[str, Comparison]
    resamples: Resamples | None = None
    trained: Mapping[str, Trained] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """What every one of its systems was scored with."""
        return next((comparison.metrics for comparison in self.against.values()), [])

    def system(self, name: str) -> SystemResult | None:
        """The scores of one of its systems; all comparisons have all of them."""
        for comparison in self.against.values():
            return next((each for each in comparison.systems if each.name == name), None)
        return None


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

    def run(self, system: str, seed: int) -> Outcome | None:
        """The run whose scores of a system count.

        The dense model and the control are those of the base run; where that is missing, those of
        any other run of the seed.
        """
        own = CONTROL if system in (DENSE, CONTROL) else system
        runs = [each for each in self.outcomes if each.seed == seed]
        runs.sort(key=lambda each: each.method != own)
        return next((each for each in runs if each.system(system) is not None), None)

    def system(self, name: str, seed: int) -> SystemResult | None:
        """The scores of a system trained with a seed."""
        found = self.run(name, seed)
        return None if found is None else found.system(name)

    def scores(self, name: str, metric: str, directions: Sequence[Direction]) -> dict[int, float]:
        """The mean over directions, by seed; seeds without it are left out."""
        systems = {seed: self.system(name, seed) for seed in self.seeds}
        means = {s: each.mean(metric, directions) for s, each in systems.items() if each}
        return {seed: value for seed, value in means.items() if value is not None}

    def differences(
        self, name: str, baseline: str, metric: str, directions: Sequence[Direction]
    ) -> dict[int, float]:
        """A system's mean minus the baseline's, by the seeds that have both."""
        found = {}
        for seed in self.seeds:
            one, other = self._pair(name, baseline, seed)
            if one is None or other is None:
                continue
            means = [
                None if scored is None else scored.mean(metric, directions)
                for scored in (one.system(name), other.system(baseline))
            ]
            if means[0] is not None and means[1] is not None:
                found[seed] = means[0] - means[1]
        return found

    def tested(
        self,
        name: str,
        baseline: str,
        metric: str,
        directions: Sequence[Direction],
        *,
        pool: Pooled | None = None,
    ) -> SeedDifference | None:
        """The mean difference over seeds, its interval over seeds and sentences; None without any.

        Where a run has no resamples, or others, the interval is over seeds alone and says so.
        """
        differences = self.differences(name, baseline, metric, directions)
        if not differences:
            return None
        found = [self._drawn(name, baseline, seed, metric, directions) for seed in differences]
        known = [(of_S, draw) for of_S, draw in found if of_S is not None]
        shared = len(known) == len(found) and len({draw for _, draw in known}) == 1
        resampled = [of_S for of_S, _ in known] if shared else []
        return seed_difference(list(differences.values()), resampled=resampled, pool=pool)

    def bootstrap(
        self,
        name: str,
        seed: int,
        baseline: str,
        metric: str,
        directions: Sequence[Direction],
    ) -> Difference | None:
        """The difference of one seed, with its interval over resampled sentences."""
        observed = self.differences(name, baseline, metric, directions).get(seed)
        drawn, _ = self._drawn(name, baseline, seed, metric, directions)
        if observed is None or drawn is None:
            return None
        return summarise(observed, drawn)

    def updates(self, name: str) -> list[int]:
        """The updates of a system's own stage, over its seeds; different ones once, in order."""
        return sorted({count for each in self._trained(name) for count in each.updates})

    def tuning(self, name: str) -> list[int]:
        """The same of the models that were trained for a system's masks alone."""
        return sorted({count for each in self._trained(name) for count in each.tuning})

    def added(self, name: str) -> float | None:
        """The share of parameters that a system has beyond the dense model; None if unknown."""
        for own, dense in zip(self._trained(name), self._trained(DENSE), strict=False):
            if own.parameters is not None and dense.parameters:
                return own.parameters / dense.parameters - 1
        return None

    def between(self, code: str, side: str) -> Direction:
        """The direction of a language out of the pivot ("O2M") or into it."""
        if side == "O2M":
            return Direction(self.pivot, code)
        return Direction(code, self.pivot)

    @property
    def codes(self) -> list[str]:
        """All languages but the pivot, in the order of tables."""
        ordered = table_order(self.directions, self.languages, pivot=self.pivot)
        paired = [d for d in ordered if self.pivot in (d.source, d.target)]
        return list(dict.fromkeys(d.other(self.pivot) for d in paired))

    def _trained(self, name: str) -> list[Trained]:
        runs = [self.run(name, seed) for seed in self.seeds]
        return [run.trained[name] for run in runs if run and name in run.trained]

    def _pair(self, name: str, baseline: str, seed: int) -> tuple[Outcome | None, Outcome | None]:
        """The runs in which two systems of a seed are compared: one, if it has both."""
        own = self.run(name, seed)
        if name == baseline or own is None:
            return None, None
        return own, own if own.system(baseline) is not None else self.run(baseline, seed)

    def _drawn(
        self,
        name: str,
        baseline: str,
        seed: int,
        metric: str,
        directions: Sequence[Direction],
    ) -> tuple[Floats | None, str]:
        """A seed's difference on resamples [S], and the name of the draw."""
        pair = self._pair(name, baseline, seed)
        one, other = (None if each is None else each.resamples for each in pair)
        if one is None or other is None or one.drawn != other.drawn:
            return None, ""
        ours, theirs = one.mean(name, metric, directions), other.mean(baseline, metric, directions)
        return (None if ours is None or theirs is None else ours - theirs), one.drawn

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
