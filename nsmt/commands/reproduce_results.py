"""What a reproduction's runs left: scores by condition, statistics, masks, times and sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from nsmt.commands.config import RunConfig, recorded_config
from nsmt.commands.reproduce_plan import PLAIN, Condition, Plan
from nsmt.commands.score import comparison_path
from nsmt.commands.sweep_job import FAILURE_RECORD
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.results import Comparison
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.records import read_record
from nsmt.reporting.efficiency_tables import Cost
from nsmt.reporting.reproduction import Absence, Outcome, Reproduction
from nsmt.training.schedule import IDENTIFICATION, STATISTICS
from nsmt.training.stages import CHECKPOINT
from nsmt.training.timings import recorded_seconds

_ATLAS: Final = "atlas.safetensors"
_WEIGHTS: Final = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Found:
    """All finished runs of a plan; `folders` by condition, method and seed.

    `config` and `record` are those of one of them, which all share but for method and seed.
    """

    results: dict[str, Reproduction]
    folders: dict[tuple[str, str, int], Path]
    config: RunConfig | None
    record: dict[str, Any]

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
            folder / method / CHECKPOINT / _ATLAS
            for (of, name, _), folder in self.folders.items()
            if (of, name) == (condition, method)
        ]
        return [NeuronAtlas.load(path) for path in paths if path.is_file()]

    def costs(self) -> list[Cost]:
        """What each method of the plain condition needs beside the dense model."""
        result = self.results[PLAIN]
        return [
            cost
            for method in result.methods
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
        dense = _parameters(folder / DENSE)
        own = _parameters(folder / method)
        return Cost(
            method,
            label,
            None if own is None or dense is None else own - dense,
            dense or 0,
            sum(known) / len(known) if known else None,
            _mask_bytes(folder / method),
        )

    def _seconds(self, method: str, seed: int, folder: Path) -> float | None:
        """Identification, by the run or by the base run that it took it from; and a method's parts.

        Parts are what a method trains before its own stage, as LaSS its fine-tuned copies.
        """
        if _mask_bytes(folder / method) is None:
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
        if found := [f for (name, _, _), f in folders.items() if name == condition.name]:
            _require_same_text(found)
            record = read_record(found[0])
            config = recorded_config(found[0], record)
        results[condition.name] = _reproduction(plan, condition.rows, outcomes, absent, config)
    return Found(results, folders, config, record)


def _rows(plan: Plan, condition: Condition) -> Iterator[tuple[str, int, Path | Absence]]:
    """Every row of a condition with its run's folder, or why there can be none."""
    # Conditions that share their base have no control runs of their own.
    shares = condition.settings.changes is not None
    for method in dict.fromkeys((() if shares else (CONTROL,)) + condition.methods):
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
        against = {
            baseline: Comparison.from_json(path.read_text(encoding="utf-8"))
            for baseline in (CONTROL, DENSE)
            if (path := comparison_path(folder, baseline)).is_file()
        }
    except DataError as error:
        # One damaged run keeps its own row out, and no other.
        return Absence(method, seed, f"{error.problem} (fix: {error.fix})")
    if not against:
        return Absence(method, seed, f"{folder} has lost its results: evaluate.py run={folder}")
    return Outcome(method, seed, against)


def _why(folder: Path, *, begun: bool) -> str:
    failure = folder / FAILURE_RECORD
    if failure.is_file():
        reason = str(json.loads(failure.read_text(encoding="utf-8"))["reason"])
        return f"failed: {' '.join(reason.split())}"
    return "is not finished; the same command goes on with it" if begun else "was not begun"


def _reproduction(
    plan: Plan,
    methods: tuple[str, ...],
    outcomes: list[Outcome],
    absent: list[Absence],
    config: RunConfig | None,
) -> Reproduction:
    if config is None:
        # Nothing is finished: what is missing can still be told.
        config = _unfinished(plan)
    return Reproduction(
        methods=methods,
        outcomes=tuple(outcomes),
        absent=tuple(absent),
        labels=LABELS,
        languages=config.data.language_table(),
        pivot=config.data.pivot,
        of_paper=plan.scale.paper == "ec30",
    )


def _unfinished(plan: Plan) -> RunConfig:
    return plan.config(plan.plain, CONTROL, plan.seeds[0])


def _require_same_text(folders: list[Path]) -> None:
    texts = {folder: read_record(folder)["data_fingerprint"] for folder in folders}
    first = texts[folders[0]]
    for folder, text in texts.items():
        if text != first:
            raise DataError(
                f"{folder} was trained on other text than {folders[0]}",
                fix="run it again with resume=never",
            )


def _parameters(system: Path) -> int | None:
    """Of all models of a system: one checkpoint, or one in each of its parts."""
    whole = system / CHECKPOINT / _WEIGHTS
    paths = [whole] if whole.is_file() else sorted(system.glob(f"*/{CHECKPOINT}/{_WEIGHTS}"))
    return sum(map(_elements, paths)) if paths else None


def _elements(path: Path) -> int:
    count = 0
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 -- no mapping
            size = 1
            for extent in file.get_slice(name).get_shape():
                size *= extent
            count += size
    return count


def _mask_bytes(system: Path) -> int | None:
    """Files of masks in a system's checkpoints."""
    paths = [
        path
        for path in system.rglob("*.safetensors")
        if path.parent.name == CHECKPOINT and ("mask" in path.name or path.name == _ATLAS)
    ]
    return sum(path.stat().st_size for path in paths) if paths else None
