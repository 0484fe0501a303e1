"""What an evaluation of language arithmetic leaves: tables, matrices, and one JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nsmt.commands.evaluations import keep
from nsmt.commands.zero_shot_report import (
    Measured,
    TestSets,
    summary,
    write_everything,
    write_matrices,
)
from nsmt.data.corpus import Corpus
from nsmt.evaluation.arithmetic import Arm
from nsmt.evaluation.resamples import Resamples
from nsmt.evaluation.results import Comparison
from nsmt.evaluation.significance import Difference, summarise
from nsmt.files import replace_text
from nsmt.languages import Direction
from nsmt.reporting.arithmetic_tables import Change, changes_table, neurons_table, targets_table
from nsmt.reporting.results_tables import comparison_notes
from nsmt.reporting.tables import Table, save_tables
from nsmt.steering.interventions import LanguageNeurons

_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Everything that was measured; `against` compares with the system as it is, `plain`."""

    plain: str
    arms: Sequence[Arm]
    neurons: Mapping[str, LanguageNeurons]
    sets: TestSets
    measured: Measured
    against: Comparison
    resamples: Resamples
    corpus: Corpus
    notes: Sequence[str]

    @property
    def programs(self) -> list[Arm]:
        """The arms that are no controls."""
        return [arm for arm in self.arms if arm.of is None]

    def difference(
        self, name: str, others: Sequence[str], metric: str, directions: Sequence[Direction]
    ) -> Difference | None:
        """A system's mean over directions less the mean of others', on the same resamples.

        None if one of them has no such score in some direction, or there are no others.
        """
        names = (name, *others)
        values = [self.against.system(each).mean(metric, directions) for each in names]
        drawn = [self.resamples.mean(each, metric, directions) for each in names]
        if not others or None in values or any(each is None for each in drawn):
            return None
        value_N, drawn_NS = np.array(values, float), np.array(drawn, float)
        return summarise(
            float(value_N[0] - value_N[1:].mean()), drawn_NS[0] - drawn_NS[1:].mean(axis=0)
        )

    def change(self, arm: Arm, directions: Sequence[Direction]) -> Change:
        """What a program changes over some directions."""
        controls = [each.name for each in self.arms if each.of == arm.name]
        to_plain, to_random = (
            {
                metric: found
                for metric in self.against.metrics
                if (found := self.difference(arm.name, others, metric, directions)) is not None
            }
            for others in ([self.plain], controls)
        )
        return Change(arm.label, to_plain, to_random)


def write_report(into: Path, report: Arithmetic, certificate: Mapping[str, Any]) -> None:
    """Write all of it, and show the summary and the changes."""
    against, sets, corpus = report.against, report.sets, report.corpus
    controls = {arm.name for arm in report.arms if arm.of is not None}
    shown = Measured(
        [system for system in against.systems if system.name not in controls],
        {name: found for name, found in report.measured.found.items() if name not in controls},
    )
    write_matrices(into, shown, sets, corpus, report.notes)
    write_everything(into, report.measured, sets, {}, pivot=corpus.pivot)
    changes = {arm.name: report.change(arm, sets.unseen) for arm in report.programs}
    text = json.dumps(_plain(report, changes), ensure_ascii=False, indent=1) + "\n"
    replace_text(into / "results" / "arithmetic.json", text)
    notes = [*report.notes, *comparison_notes(against, same_weights=True)]
    label = against.system(report.plain).label
    tables = {
        f"targets-{metric.replace('++', 'pp')}": _by_target(report, metric, notes)
        for metric in against.metrics
    }
    atlases = {stack: each.atlas for stack, each in report.neurons.items()}
    tables["neurons"] = neurons_table(atlases, notes=report.notes[:1])
    save_tables(tables, into / "tables")
    title = f"Language arithmetic: differences over {len(sets.unseen)} directions"
    shown_tables = {
        "summary": summary(report.measured, sets, corpus, report.notes),
        "changes": changes_table(
            list(changes.values()), against.metrics, title=title, plain=label, notes=notes
        ),
    }
    keep(into, shown_tables, against.systems, certificate)


def _by_target(report: Arithmetic, metric: str, notes: Sequence[str]) -> Table:
    languages = [entry.code for entry in report.corpus.languages.by_family()]
    every = {code: [d for d in report.sets.unseen if d.target == code] for code in languages}
    into = {code: directions for code, directions in every.items() if directions}
    system = report.against.system(report.plain)
    values = {target: system.mean(metric, ways) for target, ways in into.items()}
    changes = {
        arm.label: {
            target: found
            for target, ways in into.items()
            if (found := report.difference(arm.name, [report.plain], metric, ways)) is not None
        }
        for arm in report.programs
    }
    return targets_table(values, changes, metric=metric, plain=system.label, notes=notes)


def _plain(report: Arithmetic, changes: Mapping[str, Change]) -> dict[str, Any]:
    """What decides an arm, what it changes, and how many neurons there are."""

    def plainly(differences: Mapping[str, Difference]) -> dict[str, Any]:
        return {metric: asdict(found) for metric, found in differences.items()}

    return {
        "schema": _SCHEMA,
        "system": report.plain,
        "pivot": report.corpus.pivot,
        "metrics": report.against.signatures,
        "directions": [str(direction) for direction in report.sets.unseen],
        "neurons": {
            stack: {
                language: {
                    site.name: int(of_stack.atlas.mask(language, site).sum())
                    for site in of_stack.atlas.sites
                }
                for language in of_stack.atlas.tasks
            }
            for stack, of_stack in report.neurons.items()
        },
        "arms": {
            arm.name: {
                "label": arm.label,
                "steps": [step.model_dump(mode="json") for step in arm.steps],
                "random_seed": arm.seed,
                "control_of": arm.of,
            }
            | (
                {
                    "to_plain": plainly(changes[arm.name].to_plain),
                    "to_random": plainly(changes[arm.name].to_random),
                }
                if arm.name in changes
                else {}
            )
            for arm in report.arms
        },
    }
