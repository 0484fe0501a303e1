"""What an evaluation of unseen directions leaves: matrices, heat maps, a summary, and one JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from nsmt.data.corpus import Corpus
from nsmt.data.pivot_join import TestText
from nsmt.evaluation.off_target import INTO_PIVOT, INTO_SOURCE, Found, mean_rates
from nsmt.evaluation.results import SystemResult
from nsmt.evaluation.significance import OFF_TARGET_KEY
from nsmt.files import replace_text
from nsmt.languages import Direction
from nsmt.reporting.figures import save_figure
from nsmt.reporting.heatmaps import direction_heatmaps
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.tables import Table, save_tables
from nsmt.reporting.zero_shot_tables import REFERENCES, matrix_table, zero_shot_summary

_SCHEMA = 1
# All that an evaluation measured, below its folder.
EVERYTHING: Final = "results/zero_shot.json"


@dataclass(frozen=True, slots=True)
class TestSets:
    """The text of every direction that is evaluated, and which are left out with how much text."""

    texts: dict[Direction, TestText]
    too_small: dict[Direction, int]
    # Of those that are evaluated, the ones that training saw.
    trained: tuple[Direction, ...]

    __test__: ClassVar[bool] = False

    @property
    def unseen(self) -> list[Direction]:
        """Those that are evaluated and that training did not see."""
        return [direction for direction in self.texts if direction not in self.trained]


@dataclass(frozen=True, slots=True)
class Measured:
    """What systems put out, their scores, and in which language they are."""

    systems: Sequence[SystemResult]
    # By system, and of the references; empty without an identifier, and without directions into
    # languages that it does not know.
    found: Mapping[str, Mapping[Direction, Found]]
    unidentified: Sequence[str] = ()


def summary(measured: Measured, sets: TestSets, corpus: Corpus, notes: Sequence[str]) -> Table:
    """A row a system, with means over the unseen directions."""
    rates = {
        name: mean_rates(
            [of_direction[d] for d in sets.unseen if d in of_direction], pivot=corpus.pivot
        )
        for name, of_direction in measured.found.items()
    }
    return zero_shot_summary(
        measured.systems,
        sets.unseen,
        rates,
        title=f"Zero-shot: means over {len(sets.unseen)} directions",
        notes=notes,
    )


def write_matrices(
    into: Path, measured: Measured, sets: TestSets, corpus: Corpus, notes: Sequence[str]
) -> None:
    """A matrix for each metric and system, and a heat map for each metric."""
    evaluated = {code for direction in sets.texts for code in (direction.source, direction.target)}
    languages = [entry for entry in corpus.languages.by_family() if entry.code in evaluated]
    codes, families = [e.code for e in languages], [e.family for e in languages]
    values = _values(measured, pivot=corpus.pivot)
    labels = {system.name: system.label for system in measured.systems}
    tables = {}
    for metric, of_system in values.items():
        for name, label in labels.items():
            tables[f"matrix-{metric.replace('++', 'pp')}-{name}"] = matrix_table(
                of_system[name],
                codes,
                metric=metric,
                label=label,
                references=of_system.get(REFERENCES),
                notes=notes,
            )
    save_tables(tables, into / "tables")
    for metric in (name for name in values if name in HEADINGS):
        matrices = {label: _matrix(values[metric][name], codes) for name, label in labels.items()}
        figure = direction_heatmaps(
            matrices,
            codes,
            families,
            meaning=HEADINGS[metric],
            scale=(0, 100) if metric == OFF_TARGET_KEY else None,
        )
        save_figure(figure, into / "figures", f"matrix-{metric.replace('++', 'pp')}")


def _values(measured: Measured, *, pivot: str) -> dict[str, dict[str, dict[Direction, float]]]:
    """What the matrices show: [metric][system, or references][direction]."""
    values: dict[str, dict[str, dict[Direction, float]]] = {
        metric: {
            system.name: {d: of[metric] for d, of in system.scores.items() if metric in of}
            for system in measured.systems
        }
        for metric in measured.systems[0].signatures
    }
    for metric in (OFF_TARGET_KEY, INTO_PIVOT, INTO_SOURCE) if measured.found else ():
        values[metric] = {
            name: {
                direction: rates[metric]
                for direction, found in of_direction.items()
                if metric in (rates := found.rates(pivot=pivot))
            }
            for name, of_direction in measured.found.items()
        }
    return values


def _matrix(values: Mapping[Direction, float], codes: Sequence[str]) -> np.ndarray:
    matrix = np.full((len(codes), len(codes)), np.nan)
    for direction, value in values.items():
        matrix[codes.index(direction.source), codes.index(direction.target)] = value
    return matrix


def write_everything(
    into: Path,
    measured: Measured,
    sets: TestSets,
    passed_over: Mapping[str, str],
    *,
    pivot: str,
) -> None:
    """Everything that was measured, by direction."""

    def judged(name: str, direction: Direction) -> dict[str, Any]:
        if direction not in measured.found.get(name, {}):
            return {}
        found = measured.found[name][direction]
        return {"rates": found.rates(pivot=pivot), "languages": found.counts()}

    plain = {
        "schema": _SCHEMA,
        "pivot": pivot,
        "signatures": dict(measured.systems[0].signatures),
        "labels": {system.name: system.label for system in measured.systems},
        "too_small": {str(direction): count for direction, count in sets.too_small.items()},
        "passed_over": dict(passed_over),
        "unidentified": list(measured.unidentified),
        "directions": {
            str(direction): {
                "sentences": len(text),
                "joined": text.joined,
                "trained": direction in sets.trained,
                REFERENCES: judged(REFERENCES, direction),
                "systems": {
                    system.name: {"scores": dict(system.scores[direction])}
                    | judged(system.name, direction)
                    for system in measured.systems
                },
            }
            for direction, text in sets.texts.items()
        },
    }
    text = json.dumps(plain, ensure_ascii=False, indent=1) + "\n"
    replace_text(into / EVERYTHING, text)
