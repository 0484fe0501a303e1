"""What a reproduction's runs left: scores by condition, statistics, masks, times and sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from nsmt.commands.comet_results import require_one_comet, with_comet
from nsmt.commands.config import RunConfig, recorded_config
from nsmt.commands.reproduce_plan import PLAIN, Condition, Plan
from nsmt.commands.score import comparison_path, resamples_path
from nsmt.commands.sweep_job import failure_reason
from nsmt.commands.system_facts import mask_bytes, parameters, trained_systems
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import Comparison
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.models.checkpoint import ATLAS
from nsmt.models.systems import CHECKPOINT
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.records import read_record
from nsmt.reporting.efficiency_tables import Cost
from nsmt.reporting.probes_over_seeds import Probed
from nsmt.reporting.reproduction import Absence, Outcome, Reproduction
from nsmt.reporting.unseen_tables import Unseen
from nsmt.training.schedule import IDENTIFICATION, STATISTICS
from nsmt.training.timings import recorded_seconds


@dataclass(frozen=True, slots=True)
class Found:
    """All finished runs of a plan; `folders` by condition, method and seed.

    `config` and `record` are those of one run of the plain condition, or of the first that has any:
    runs of a condition share them but for method and seed. `unseen` is what they scored on
    directions that none of them was trained on, `probed` what probes found, if asked for.
    """

    results: dict[str, Reproduction]
    folders: dict[tuple[str, str, int], Path]
    config: RunConfig | None
    record: dict[str, Any]
    unseen: Unseen | None = None
    probed: Probed | None = None

    @property
    def metrics(self) -> list[str]:
        """The metrics of the first condition that has any run."""
        return next((each.metrics for each in self.results.values() if each.outcomes), [])

    def training_pairs(self, pivot: str) -> dict[str, int]:
        """How many sentence pairs of training text each language has with the pivot."""
        sizes = self.record.get("preparation", {})
        pairs = {Direction.parse(pair): of for pair, of in sizes.items()}
        return {
            pair.other(pivot): of["train"]
            for pair, of in pairs.items()
            if pivot in (pair.source, pair.target)
        }

    def base_statistics(self) -> list[ActivationStatistics]:
        """What was measured on the dense models, one a seed."""
        paths = [
            folder / IDENTIFICATION / STATISTICS
            for (condition, method, _), folder in self.folders.items()
            if condition == PLAIN and method == CONTROL
        ]
        return [ActivationStatistics.load(path) for path in paths if path.is_file()]

    def atlases(self, condition: str, method: str) -> list[NeuronAtlas]:
        """The masks of a method, one atlas a seed; empty where it has no atlas."""
        paths = [
            folder / method / CHECKPOINT / ATLAS
            for (of, name, _), folder in self.folders.items()
            if (of, name) == (condition, method)
        ]
        return [NeuronAtlas.load(path) for path in paths if path.is_file()]

    def costs(self) -> list[Cost]:
        """What the control and each method of the plain condition need beside the dense model."""
        result = self.results[PLAIN]
        return [
            cost
            for method in dict.fromkeys((CONTROL, *result.methods))
            if (cost := self._cost(method, result.label(method))) is not None
        ]

    def _cost(self, method: str, label: str) -> Cost | None:
        runs = [
            (seed, folder)
            for (condition, name, seed), folder in self.folders.items()
            if (condition, name) == (PLAIN, method)
        ]
        if not runs:
            return None
        folder = runs[0][1]
        seconds = [self._seconds(method, each, other) for each, other in runs]
        known = [each for each in seconds if each is not None]
        dense = parameters(folder / DENSE)
        own = parameters(folder / method)
        return Cost(
            method,
            label,
            None if own is None or dense is None else own - dense,
            dense or 0,
            fmean(known) if known else None,
            mask_bytes(folder / method),
            stdev(known) if len(known) > 1 else None,
        )

    def _seconds(self, method: str, seed: int, folder: Path) -> float | None:
        """Identification, by the run or by the base run that it took it from; and a method's parts.

        Parts are what a method trains before its own stage, as LaSS its fine-tuned copies.
        """
        if mask_bytes(folder / method) is None:
            # It finds no sub-networks: parts, as of bilingual models, are its training.
            return None
        own = recorded_seconds(folder)
        base = self.folders.get((PLAIN, CONTROL, seed))
        parts = [value for name, value in own.items() if name.startswith(f"{method}/")]
        if parts:
            return sum(parts)
        found = own.get(IDENTIFICATION)
        return recorded_seconds(base).get(IDENTIFICATION) if found is None and base else found


def gather(plan: Plan) -> Found:
    """Look for the runs of a plan and read what they scored; nothing is measured.

    Raises DataError if runs that belong together were trained on different text.
    """
    folders: dict[tuple[str, str, int], Path] = {}
    results: dict[str, Reproduction] = {}
    config: RunConfig | None = None
    record: dict[str, Any] = {}
    for condition in plan.conditions:
        outcomes, absent = list[Outcome](), list[Absence]()
        for method, seed, place in _rows(plan, condition):
            looked = place if isinstance(place, Absence) else _outcome(method, seed, place)
            if isinstance(looked, Absence):
                absent.append(looked)
                continue
            assert isinstance(place, Path)  # noqa: S101 -- narrows the type
            outcomes.append(looked)
            folders[condition.name, method, seed] = place
        absent += [
            Absence(method, seed, "this version of nsmt has no such method")
            for method in condition.rows
            if method not in condition.methods
            for seed in plan.seeds
        ]
        own = None
        if found := [f for (name, _, _), f in folders.items() if name == condition.name]:
            _require_same_text(found)
            of_first = read_record(found[0])
            own = recorded_config(found[0], of_first)
            # The plain condition comes first.
            config, record = config or own, record or of_first
        require_one_comet(outcomes)
        # Where nothing is finished, what is missing can still be told.
        told = own or config or plan.config(plan.plain, CONTROL, plan.seeds[0])
        results[condition.name] = _reproduction(plan, condition, outcomes, absent, told)
    return Found(results, folders, config, record)


def _rows(plan: Plan, condition: Condition) -> Iterator[tuple[str, int, Path | Absence]]:
    """Every row of a condition with its run's folder, or why there can be none."""
    for method in dict.fromkeys(((CONTROL,) if condition.base else ()) + condition.methods):
        for seed in plan.seeds:
            try:
                yield method, seed, plan.folder(condition, method, seed)
            except ConfigurationError as error:
                yield method, seed, Absence(method, seed, " ".join(error.problem.split()))


def _outcome(method: str, seed: int, folder: Path) -> Outcome | Absence:
    try:
        record = read_record(folder)
        if "finished" not in record:
            return Absence(method, seed, _why(folder, begun=bool(record)))
        against, resamples = kept_scores(folder)
        if not against:
            return Absence(method, seed, f"{folder} has lost its results: evaluate.py run={folder}")
        trained = trained_systems(folder, record["stages"])
        return with_comet(Outcome(method, seed, against, resamples, trained), folder)
    except DataError as error:
        # One damaged run keeps its own row out, and no other.
        return Absence(method, seed, f"{error.problem} (fix: {error.fix})")


def kept_scores(place: Path) -> tuple[dict[str, Comparison], Resamples | None]:
    """The comparisons by baseline, of a run or an evaluation, and what they were drawn from."""
    against = {
        baseline: Comparison.from_json(path.read_text(encoding="utf-8"))
        for baseline in (CONTROL, DENSE)
        if (path := comparison_path(place, baseline)).is_file()
    }
    # Runs of an older version kept none: their intervals are over seeds alone.
    path = resamples_path(place)
    return against, Resamples.load(path) if path.is_file() else None


def _why(folder: Path, *, begun: bool) -> str:
    if (reason := failure_reason(folder)) is not None:
        return f"failed: {reason}"
    return "is not finished; the same command goes on with it" if begun else "was not begun"


def _reproduction(
    plan: Plan,
    condition: Condition,
    outcomes: list[Outcome],
    absent: list[Absence],
    config: RunConfig,
) -> Reproduction:
    return Reproduction(
        methods=condition.rows,
        outcomes=tuple(outcomes),
        absent=tuple(absent),
        labels=LABELS,
        languages=config.data.language_table(),
        pivot=config.data.pivot,
        of_paper=plan.scale.paper == "ec30",
    )


def _require_same_text(folders: list[Path]) -> None:
    texts = {folder: read_record(folder)["data_fingerprint"] for folder in folders}
    first = texts[folders[0]]
    for folder, text in texts.items():
        if text != first:
            raise DataError(
                f"{folder} was trained on other text than {folders[0]}",
                fix="run it again with resume=never",
            )
