"""Scoring the outputs that the authors of Neuron Specialization published (Table 11).

Their repository keeps the hypotheses of both systems beside the scores, so the paper's BLEU and
chrF++ can be computed again without a GPU. Two layouts are read: one folder a direction with
`ref.txt` and `hyp.SYSTEM.txt`, and the authors' own. Elsewhere in their repository, under
`results/`, lie stale and partly empty outputs; those are never read.

As in the authors' script, Table 11 averages scores that were first rounded to the one decimal
that sacreBLEU prints, and Avg is the mean of the two sides' means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from nsmt.data.sources.lines import read_lines
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.groups import TierColumn, pivot_directions, tier_columns
from nsmt.evaluation.results import SystemResult, TestOutput
from nsmt.evaluation.scoring import BLEU_KEY, CHRF_KEY
from nsmt.languages import Direction, LanguageSettings, LanguageTable
from nsmt.settings import Settings

Outputs = dict[str, dict[Direction, TestOutput]]

# Where the authors' repository keeps the outputs behind the paper's tables, baseline first.
_AUTHORS_FOLDERS: Final[Mapping[str, str]] = {
    "mT-big": "scripts/mT-big-baseline/results_template",
    "mT-big-NS": "scripts/mT-big-NS/checkpoints",
}
_SEARCH_DEPTH: Final = 3
_PRINTED_DECIMALS: Final = 1
_LAYOUTS: Final = (
    "give a folder with SRC-TGT/ref.txt and SRC-TGT/hyp.SYSTEM.txt, "
    "or a checkout of the authors' repository"
)


class PublishedSettings(Settings):
    """Which published outputs to score, and the languages by which to table them."""

    kind: Literal["published"] = "published"
    pivot: str
    languages: dict[str, LanguageSettings]
    labels: dict[str, str] = Field(default_factory=dict)
    baseline: str | None = Field(None, description="the system that the others are compared with")
    together: bool = Field(
        default=False, description="resample all directions together: multi-parallel test sets"
    )

    def language_table(self) -> LanguageTable:
        """The languages in the order of the paper."""
        return LanguageTable(self.languages, self.languages)


@dataclass(frozen=True, slots=True)
class TierTable:
    """The paper's Table 11: a row a metric and system, a column a tier and side.

    `values[metric][system label]` holds one mean a column, None where directions are missing.
    """

    columns: tuple[TierColumn, ...]
    values: Mapping[str, Mapping[str, tuple[float | None, ...]]]
    signatures: Mapping[str, str]
    missing: tuple[Direction, ...]
    expected: int


def read_published(folder: Path) -> Outputs:
    """All outputs found in `folder`, by system and direction.

    Raises DataError if the folder is missing, holds neither layout, or has torn files.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", fix=_LAYOUTS)
    outputs = _read_flat(folder) or _read_authors_repository(folder)
    if not outputs:
        raise DataError(f"{folder} holds no published outputs", fix=_LAYOUTS)
    return outputs


def table11(systems: Sequence[SystemResult], languages: LanguageTable, *, pivot: str) -> TierTable:
    """Average measured systems as the paper's Table 11 does, for BLEU and chrF++."""
    expected = pivot_directions(languages, pivot=pivot)
    columns = tuple(tier_columns(expected, languages, pivot=pivot))
    missing = [d for d in expected if any(d not in system.scores for system in systems)]
    values = {
        metric: {
            system.label: tuple(
                _column_mean(system, metric, column, pivot=pivot) for column in columns
            )
            for system in systems
        }
        for metric in (BLEU_KEY, CHRF_KEY)
    }
    signatures = {m: text for s in systems for m, text in s.signatures.items() if m in values}
    return TierTable(columns, values, signatures, tuple(missing), len(expected))


def _column_mean(
    system: SystemResult, metric: str, column: TierColumn, *, pivot: str
) -> float | None:
    sides = [[d for d in column.directions if (d.source == pivot) is out] for out in (True, False)]
    means = [_printed_mean(system, metric, side) for side in sides if side]
    known = [mean for mean in means if mean is not None]
    return sum(known) / len(known) if known and len(known) == len(means) else None


def _printed_mean(
    system: SystemResult, metric: str, directions: Sequence[Direction]
) -> float | None:
    printed = [
        round(system.scores[direction][metric], _PRINTED_DECIMALS)
        for direction in directions
        if direction in system.scores
    ]
    return sum(printed) / len(printed) if len(printed) == len(directions) else None


def _read_flat(folder: Path) -> Outputs:
    outputs: Outputs = {}
    for direction, place in _direction_folders(folder):
        for path in sorted(place.glob("hyp.*.txt")):
            system = path.name.removeprefix("hyp.").removesuffix(".txt")
            outputs.setdefault(system, {})[direction] = _read_pair(path, place / "ref.txt")
    return dict(sorted(outputs.items()))


def _read_authors_repository(folder: Path) -> Outputs:
    outputs: Outputs = {}
    for system, below in _AUTHORS_FOLDERS.items():
        root = _find_below(folder, below)
        for direction, place in _direction_folders(root) if root else ():
            hypotheses = place / "test-sys.txt"
            if hypotheses.is_file():
                pair = _read_pair(hypotheses, place / "test-ref.txt")
                outputs.setdefault(system, {})[direction] = pair
    return outputs


def _find_below(folder: Path, below: str) -> Path | None:
    for depth in range(_SEARCH_DEPTH + 1):
        found = sorted(path for path in folder.glob("*/" * depth + below) if path.is_dir())
        if found:
            return found[0]
    return None


def _direction_folders(folder: Path) -> Iterator[tuple[Direction, Path]]:
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            direction = Direction.parse(place.name)
        except ConfigurationError:
            continue
        yield direction, place


def _read_pair(hypotheses: Path, references: Path) -> TestOutput:
    if not references.is_file():
        raise DataError(f"{hypotheses} has no references {references.name}", fix=_LAYOUTS)
    lines, expected = list(read_lines(hypotheses)), list(read_lines(references))
    if len(lines) != len(expected) or not lines:
        raise DataError(
            f"{hypotheses} has {len(lines)} lines but {references.name} has {len(expected)}",
            fix="fetch both files again; each holds one line a sentence",
        )
    return TestOutput(lines, expected)
