"""Table 4: what sharing one model costs or gives each language, and what specialisation changes.

Bilingual models are the absolute row; the multilingual ones are differences to them. All of a seed
are trained on the same text. The control is here too: without it, longer training would look like
less interference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from nsmt.evaluation.groups import Group, tiers_of
from nsmt.evaluation.paper import MARKS, Firmness, PaperRow, paper
from nsmt.evaluation.seeds import Spread, spread
from nsmt.languages import Direction
from nsmt.methods import BILINGUAL, CONTROL, DENSE, SPECIALISED
from nsmt.reporting.interval_tables import bootstrap_table
from nsmt.reporting.paper_tables import named
from nsmt.reporting.reproduction import Reproduction
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.sweep_tables import format_spread
from nsmt.reporting.table_notes import (
    format_gain,
    how_tested,
    published_notes,
    reproduction_notes,
    seeds_shown,
    visible_note,
)
from nsmt.reporting.tables import MISSING, Table

_SIDES: Final = ("O2M", "M2O")


@dataclass(frozen=True, slots=True)
class Gap:
    """A language's point: how far the multilingual model is from the bilingual one, and the gain.

    `gap` is the dense multilingual model minus the bilingual one, `gain` specialisation minus the
    control; both over the same seeds.
    """

    language: str
    gap: Spread
    gain: Spread


def table4(result: Reproduction, metric: str) -> dict[str, Table]:
    """Bilingual scores, and the others as differences to them, by language and side.

    Where corpus and model are the paper's, its rows, and ours minus its; then single runs.
    """
    codes = interference_languages(result)
    rows, firmnesses = [], list[Firmness]()
    for side in _SIDES:
        for row in _paper_rows(side, metric) if result.of_paper else ():
            values = paper().values(row)
            cells = [
                f"{values[c]:{_sign(row)}.1f}{MARKS[row.firmness]}" if c in values else MISSING
                for c in codes
            ]
            firmnesses.append(row.firmness)
            rows.append([side, f"{row.label}, paper", "", *cells])
            rows.append(
                [side, f"{row.label}, here − paper", "", *_gaps(result, metric, row, codes)]
            )
        rows += _own_rows(result, metric, side, codes)
    every = [
        result.tested(system, BILINGUAL, metric, [result.between(code, side)])
        for side in _SIDES
        for system in result.systems
        for code in codes
    ]
    ways = [[result.between(code, side)] for side in _SIDES for code in codes]
    notes = [
        "Bilingual models are absolute, the others differences to them by seed: mean ± deviation "
        "over seeds.",
        how_tested(every),
        visible_note(result, metric, ways, name="of a language", baseline=BILINGUAL),
        *published_notes(firmnesses),
        *([paper().not_recovered["table4"]] if firmnesses else []),
        *(
            []
            if BILINGUAL in result.methods
            else ["No bilingual models: they are method=bilingual."]
        ),
        *reproduction_notes(result, [metric]),
    ]
    title = f"Table 4: interference, {HEADINGS[metric]}"
    single = [
        Group(f"{code} {side}", (result.between(code, side),)) for side in _SIDES for code in codes
    ]
    name = named("table4", metric)
    return {
        name: Table(title, ["Block", "System", "Seeds", *codes], rows, notes),
        f"{name}-bootstrap": bootstrap_table(
            result,
            metric,
            title=f"{title}, every run by itself",
            baseline=BILINGUAL,
            columns=single,
        ),
    }


def gaps(result: Reproduction, metric: str) -> dict[str, list[Gap]]:
    """By side, a point for each language; both its means are over the seeds that have both."""
    points: dict[str, list[Gap]] = {}
    for side in _SIDES:
        points[side] = []
        for code in interference_languages(result):
            direction = [result.between(code, side)]
            gap = result.differences(DENSE, BILINGUAL, metric, direction)
            gain = result.differences(SPECIALISED, CONTROL, metric, direction)
            if seeds := sorted(gap.keys() & gain.keys()):
                of_gap, of_gain = (spread([of[s] for s in seeds]) for of in (gap, gain))
                points[side].append(Gap(code, of_gap, of_gain))
    return points


def interference_languages(result: Reproduction) -> list[str]:
    """The paper's ten languages of EC30; elsewhere all, from the most to the least text by tier."""
    codes = result.codes
    if result.of_paper:
        return [code for code in paper().columns["table4"] if code in codes]
    tiers = tiers_of(result.languages, pivot=result.pivot)
    place = {tier: number for number, tier in enumerate(tiers)}
    return sorted(codes, key=lambda code: place.get(result.languages[code].tier or "", len(place)))


def _own_rows(
    result: Reproduction, metric: str, side: str, codes: Sequence[str]
) -> list[list[str]]:
    ways = [[result.between(code, side)] for code in codes]
    absolute = [list(result.scores(BILINGUAL, metric, way).values()) for way in ways]
    cells = [format_spread(values, metric) if values else MISSING for values in absolute]
    rows = [[side, result.label(BILINGUAL), seeds_shown(absolute), *cells]]
    for system in result.systems:
        if system == BILINGUAL:
            continue
        found = [list(result.differences(system, BILINGUAL, metric, way).values()) for way in ways]
        tested = [result.tested(system, BILINGUAL, metric, way) for way in ways]
        gains = [format_gain(t, v, metric) for t, v in zip(tested, found, strict=True)]
        rows.append([side, f"{result.label(system)}, Δ", seeds_shown(found), *gains])
    return rows


def _gaps(result: Reproduction, metric: str, row: PaperRow, codes: Sequence[str]) -> list[str]:
    """Ours minus a row of the paper's, of languages that both have."""
    cells = []
    for code in codes:
        way = [result.between(code, row.block or "O2M")]
        ours = (
            result.scores(row.method, metric, way)
            if row.kind == "absolute"
            else result.differences(row.method, BILINGUAL, metric, way)
        )
        theirs = paper().values(row).get(code)
        if theirs is None or not ours:
            cells.append(MISSING)
        else:
            cells.append(f"{fmean(ours.values()) - theirs:+.1f}")
    return cells


def _paper_rows(side: str, metric: str) -> list[PaperRow]:
    """The bilingual row, and firm scores minus it, which are no firmer than it is."""
    found = []
    for row in paper().table("table4", metric):
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
