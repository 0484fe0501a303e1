"""What the paper reports (arXiv 2404.11201), with how firm each number is: `paper.yaml`, read.

Neuron Specialization's tables are known in part from files that its authors published (firm), in
part from memory of its text (unconfirmed). A number never leaves here without its firmness, and
what is unconfirmed is marked wherever it is shown.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Annotated, Final, Literal

import yaml
from pydantic import Field

from nsmt.evaluation.scoring import BLEU_KEY, CHRF_KEY
from nsmt.languages import Direction
from nsmt.settings import Settings

Firmness = Literal["firm", "derived", "read", "unconfirmed"]
MARKS: Final[dict[Firmness, str]] = {"firm": "", "derived": "‡", "read": "≈", "unconfirmed": "†"}
FIRMNESS_NOTES: Final[dict[Firmness, str]] = {
    "firm": "published, no mark: in result files of the paper's authors",
    "derived": "published, ‡: arithmetic on firm numbers",
    "read": "published, ≈: read off a figure of the paper's authors, to within 0.005",
    "unconfirmed": "published, †: recalled, not compared with the paper's text; not a fact",
}
_PIVOT: Final = "en"
_BASE: Final = "dense"
_METRICS: Final = (BLEU_KEY, CHRF_KEY, "comet")
_Scores = dict[str, Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]]


class PaperRow(Settings):
    """A row of one of the paper's tables: a value a column, absolute or against the row dense."""

    table: str
    metric: str
    method: str
    label: str
    kind: Literal["absolute", "difference"]
    firmness: Firmness
    source: str
    block: str | None = None
    values: tuple[float, ...]


class PaperParameters(Settings):
    """What a method adds to the parameters of a model, as it is printed."""

    method: str
    parameters: str
    firmness: Firmness


class PaperEfficiency(Settings):
    """A row of Table 3, as it is printed."""

    method: str
    label: str
    parameters: str
    time: str
    memory: str | None
    firmness: Firmness


class PaperLayers(Settings):
    """A line of one of the paper's figures: shares by layer of each stack."""

    figure: Literal["overlap", "sparsity"]
    row: str
    k: float
    firmness: Firmness
    source: str
    encoder: tuple[float, ...]
    decoder: tuple[float, ...]

    def of(self, stack: str) -> tuple[float, ...]:
        """The shares of one stack."""
        return self.encoder if stack == "encoder" else self.decoder


class PaperDirection(Settings):
    """A language's scores by method, out of English and into it: BLEU, chrF++, COMET."""

    out: _Scores
    into: _Scores


class Paper(Settings):
    """All that is known of the paper's results."""

    sources: dict[str, str]
    columns: dict[str, tuple[str, ...]]
    tiers: dict[str, tuple[str, ...]]
    not_recovered: dict[str, str]
    rows: tuple[PaperRow, ...]
    table1_parameters: tuple[PaperParameters, ...]
    efficiency: tuple[PaperEfficiency, ...]
    layers: tuple[PaperLayers, ...]
    directions: dict[str, PaperDirection]

    def table(self, name: str, metric: str) -> list[PaperRow]:
        """The rows of a table in one metric, in the paper's order."""
        return [row for row in self.rows if row.table == name and row.metric == metric]

    def figure(self, name: Literal["overlap", "sparsity"]) -> list[PaperLayers]:
        """The lines of a figure, in the order of the file."""
        return [line for line in self.layers if line.figure == name]

    def values(self, row: PaperRow) -> dict[str, float]:
        """A row's values by column."""
        return dict(zip(self.columns[row.table], row.values, strict=True))

    def score(self, method: str, direction: Direction, metric: str) -> float | None:
        """The firm score of one direction of EC30; None where there is none."""
        if _PIVOT not in (direction.source, direction.target) or metric not in _METRICS:
            return None
        found = self.directions.get(direction.other(_PIVOT))
        if found is None:
            return None
        side = found.out if direction.source == _PIVOT else found.into
        return side[method][_METRICS.index(metric)] if method in side else None

    def gain(self, method: str, column: str, metric: str) -> float:
        """A method's mean over a column of Table 2 minus mT-big's, from firm scores: derived."""
        block, side = column.split()
        codes = self.tiers.get(block, tuple(self.directions))
        out, into = (
            [Direction(_PIVOT, code) for code in codes],
            [Direction(code, _PIVOT) for code in codes],
        )
        chosen = {"O2M": out, "M2O": into, "Avg": [*out, *into]}[side]
        ours, base = (
            [self.score(name, each, metric) for each in chosen] for name in (method, _BASE)
        )
        return fmean(v for v in ours if v is not None) - fmean(v for v in base if v is not None)


@cache
def paper() -> Paper:
    """The numbers, read and checked."""
    text = Path(__file__).with_name("paper.yaml").read_text(encoding="utf-8")
    return Paper.model_validate_json(json.dumps(yaml.safe_load(text)))
