"""Table 4: what sharing one model costs or gives each language, and what specialisation changes.

Bilingual models are the absolute row; the multilingual ones are differences to them. All of a seed
are trained on the same text. The control is here too: without it, longer training would look like
less interference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.groups import table_order
from nsmt.evaluation.paper import MARKS, Firmness, PaperRow, paper
from nsmt.evaluation.seeds import seed_difference
from nsmt.evaluation.significance import SIGNIFICANCE_LEVEL
from nsmt.languages import Direction
from nsmt.methods import CONTROL, DENSE
from nsmt.reporting.paper_tables import format_gain, missing_notes, published_notes
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.sweep_tables import format_spread
from nsmt.reporting.tables import MISSING, Table

BILINGUAL: Final = "bilingual"
SPECIALISED: Final = "neuron_specialization"
_SIDES: Final = ("O2M", "M2O")


@dataclass(frozen=True, slots=True)
class Gap:
    """A language's point: how far the multilingual model is from the bilingual one, and the gain.

    `gap` is the dense multilingual model minus the bilingual one, `gain` specialisation minus the
    control; both are means over seeds.
    """

    language: str
    gap: float
    gain: float


def table4(result: Reproduction, metric: str) -> dict[str, Table]:
    """Bilingual scores, and the others as differences to them, by language and side."""
    codes = interference_languages(result)
    rows, firmnesses = [], list[Firmness]()
    for side in _SIDES:
        for row in _paper_rows(side):
            values = paper().values(row)
            cells = [
                f"{values[c]:{_sign(row)}.1f}{MARKS[row.firmness]}" if c in values else MISSING
                for c in codes
            ]
            if result.of_paper:
                firmnesses.append(row.firmness)
                rows.append([side, f"{row.label}, paper", "", *cells])
        rows += _own_rows(result, metric, side, codes)
    notes = [
        "Bilingual models are absolute, the others differences to them by seed: mean ± deviation "
        f"over seeds; * p < {SIGNIFICANCE_LEVEL} by the paired t-test over seeds, two-sided, not "
        "corrected for the number of comparisons.",
        *published_notes(firmnesses),
        *([paper().not_recovered["table4"]] if result.of_paper else []),
        *(
            []
            if BILINGUAL in result.methods
            else ["No bilingual models: they are method=bilingual."]
        ),
        *missing_notes(result),
        *([f"{HEADINGS[metric]}: {result.signatures[metric]}"] if result.signatures else []),
    ]
    title = f"Table 4: interference, {HEADINGS[metric]}"
    return {"table4": Table(title, ["Block", "System", "Seeds", *codes], rows, notes)}


def gaps(result: Reproduction, metric: str) -> dict[str, list[Gap]]:
    """By side, a point for each language whose runs are all there."""
    points: dict[str, list[Gap]] = {}
    for side in _SIDES:
        points[side] = []
        for code in interference_languages(result):
            direction = _direction(result, code, side)
            gap = list(_to_bilingual(result, DENSE, metric, direction).values())
            gain = list(result.differences(SPECIALISED, CONTROL, metric, [direction]).values())
            if gap and gain:
                point = Gap(code, sum(gap) / len(gap), sum(gain) / len(gain))
                points[side].append(point)
    return points


def interference_languages(result: Reproduction) -> list[str]:
    """The paper's ten languages of EC30; elsewhere all, from the most to the least text by tier."""
    ordered = table_order(result.directions, result.languages, pivot=result.pivot)
    paired = [d for d in ordered if result.pivot in (d.source, d.target)]
    codes = list(dict.fromkeys(d.other(result.pivot) for d in paired))
    if result.of_paper:
        return [code for code in paper().columns["table4"] if code in codes]
    tiers = list(dict.fromkeys(entry.tier for entry in result.languages.values() if entry.tier))
    place = {tier: number for number, tier in enumerate(tiers)}
    return sorted(codes, key=lambda code: place.get(result.languages[code].tier or "", len(place)))


def _own_rows(
    result: Reproduction, metric: str, side: str, codes: Sequence[str]
) -> list[list[str]]:
    directions = [_direction(result, code, side) for code in codes]
    absolute = [list(result.scores(BILINGUAL, metric, [d]).values()) for d in directions]
    cells = [format_spread(values, metric) if values else MISSING for values in absolute]
    rows = [[side, result.label(BILINGUAL), _count(absolute), *cells]]
    for system in result.systems:
        if system == BILINGUAL:
            continue
        found = [list(_to_bilingual(result, system, metric, d).values()) for d in directions]
        gains = [format_gain(seed_difference(v) if v else None, v, metric) for v in found]
        rows.append([side, f"{result.label(system)}, Δ", _count(found), *gains])
    return rows


def _to_bilingual(
    result: Reproduction, system: str, metric: str, direction: Direction
) -> Mapping[int, float]:
    """A system minus the bilingual model, by the seeds that both have."""
    one = result.scores(system, metric, [direction])
    other = result.scores(BILINGUAL, metric, [direction])
    return {seed: one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())}


def _paper_rows(side: str) -> list[PaperRow]:
    """The bilingual row, and firm scores minus it, which are no firmer than it is."""
    found = []
    for row in paper().table("table4", "bleu"):
        if row.block != side:
            continue
        found.append(row)
        for method, label in ((DENSE, "mT-big, Δ"), (SPECIALISED, "Neuron Specialization, Δ")):
            values = []
            for code, bilingual in paper().values(row).items():
                direction = Direction("en", code) if side == "O2M" else Direction(code, "en")
                score = paper().score(method, direction, row.metric)
                if score is not None:
                    values.append(round(score - bilingual, 1))
            update = {"method": method, "label": label, "values": tuple(values)}
            found.append(row.model_copy(update=update | {"kind": "difference"}))
    return found


def _sign(row: PaperRow) -> str:
    return "+" if row.kind == "difference" else ""


def _direction(result: Reproduction, code: str, side: str) -> Direction:
    return Direction(result.pivot, code) if side == "O2M" else Direction(code, result.pivot)


def _count(found: Sequence[Sequence[float]]) -> str:
    return str(max((len(values) for values in found), default=0))
