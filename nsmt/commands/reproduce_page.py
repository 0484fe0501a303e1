"""The tables, figures and one page of a reproduction, from what its runs left."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nsmt.commands.compose import composed
from nsmt.commands.config import RunConfig
from nsmt.commands.reproduce_plan import (
    AS_IT_IS,
    PLAIN,
    PROBED,
    UNSEEN,
    Plan,
    ReproduceConfig,
    asked_conditions,
)
from nsmt.commands.reproduce_record import reproduction_record, shown_runs
from nsmt.commands.reproduce_results import Found
from nsmt.evaluation.claims import LOWER_IS_BETTER
from nsmt.evaluation.paper import paper
from nsmt.evaluation.scoring import BLEU_KEY, CHRF_KEY
from nsmt.evaluation.significance import COMET_KEY, NLL_KEY
from nsmt.files import remove_unfinished, replace_text
from nsmt.methods import CONTROL, LABELS, SPECIALISED
from nsmt.neurons.overlap import masked_share, shares, shares_at
from nsmt.progress import result_console
from nsmt.records import certificate_entries
from nsmt.reporting.condition_tables import conditions_table, gain_curves
from nsmt.reporting.efficiency_tables import table3
from nsmt.reporting.figures import NamedPoint, named_points, save_figure, swept_curves
from nsmt.reporting.html import (
    DefinitionSection,
    FigureSection,
    Section,
    TableSection,
    TextSection,
    render_report,
)
from nsmt.reporting.interference_tables import gaps, table4
from nsmt.reporting.interval_tables import claims_table
from nsmt.reporting.layer_tables import layer_tables
from nsmt.reporting.neuron_sections import overlap_sections, sparsity_section
from nsmt.reporting.paper_tables import named, table1, table2
from nsmt.reporting.probes_over_seeds import probed_tables
from nsmt.reporting.published_tables import beside_table, group_score_table
from nsmt.reporting.results_tables import HEADINGS
from nsmt.reporting.table_notes import updates_notes
from nsmt.reporting.tables import Table, save_tables
from nsmt.reporting.unseen_tables import unseen_tables

PAGE: Final = "report.html"
RECORD: Final = "reproduction.json"
# Every table of scores comes in all that runs have: BLEU as the paper, likelihood sees more.
_METRICS: Final = (BLEU_KEY, CHRF_KEY, COMET_KEY, NLL_KEY)
# And figures of scores in these.
_DRAWN: Final = (BLEU_KEY, NLL_KEY)
_INTRODUCTION: Final = (
    "Every row begins with the same dense model of its seed. Continue-dense is that model trained "
    "for as many further updates as each method; what a method brings is its difference to "
    "continue-dense. The paper's differences are to the dense model and include the further "
    "training."
)


def write_page(config: ReproduceConfig, plan: Plan, found: Found, *, into: Path) -> Path:
    """Write `tables/`, `figures/`, the page and a record below `into`; the path of the page."""
    tables = dict(_tables(config, found))
    figures = dict(_figures(config, plan, found))
    # What an earlier page had and this one has not would be taken for its own.
    for folder in ("tables", "figures") if (into / RECORD).is_file() else ():
        shutil.rmtree(into / folder, ignore_errors=True)
    for place in (into, into / "tables"):
        remove_unfinished(place)
    save_tables(tables, into / "tables")
    for name, section in figures.items():
        save_figure(section.figure, into / "figures", name)
    out = result_console()
    for name, table in tables.items():
        if "-" not in name:
            out.print(table.to_rich())
    record = reproduction_record(config, plan, found)
    replace_text(into / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    sections: list[Section] = [
        TextSection("What was compared", [_INTRODUCTION]),
        *(TableSection(table, open="-" not in name) for name, table in tables.items()),
        *figures.values(),
        DefinitionSection("Runs", shown_runs(record)),
    ]
    entries = certificate_entries(record) | {"seed": ", ".join(map(str, plan.seeds))}
    title = f"{config.table.title}, {config.scale.name}"
    replace_text(into / PAGE, render_report(sections, entries, title=title))
    return into / PAGE


def _tables(config: ReproduceConfig, found: Found) -> Iterator[tuple[str, Table]]:
    plain = found.results[PLAIN]
    metrics = [metric for metric in _METRICS if metric in found.metrics]
    # First of all, what is decided.
    if {"table1", "table2"} & set(config.table.tables) and SPECIALISED in plain.methods:
        yield "claims", claims_table(plain, metrics)
    # Else single conditions are asked for, and this one trained the dense model for them at most.
    plain_asked = PLAIN in asked_conditions(config)
    for name in config.table.tables:
        if name in ("k", "study"):
            yield from _conditions(config, found, name, metrics)
        elif not plain_asked:
            continue
        elif name == "table1":
            sizes = found.training_pairs(plain.pivot)
            for metric in metrics:
                yield from table1(plain, metric, sizes=sizes).items()
        elif name == "table2":
            for metric in metrics:
                yield from table2(plain, metric).items()
            for metric in metrics:
                if paper().table("table2", metric):
                    yield f"{named('table2', metric)}-paper", beside_table(plain, metric)
        elif name == "table3":
            yield from _efficiency(found).items()
        elif name == "table4":
            for metric in metrics:
                yield from table4(plain, metric).items()
        elif name == "table11":
            yield "table11", group_score_table(plain)
        elif name == UNSEEN:
            assert found.unseen is not None  # noqa: S101 -- gathered before
            yield from unseen_tables(found.unseen).items()
        elif name == PROBED:
            assert found.probed is not None  # noqa: S101 -- gathered before
            yield from probed_tables(found.probed).items()
    measured = found.base_statistics()
    ks = dict.fromkeys(line.k for line in paper().layers)
    by_k = {k: shares_at(measured, k, pivot=plain.pivot) for k in ks}
    yield from layer_tables(by_k, pivot=plain.pivot, of_paper=plain.of_paper).items()


def _efficiency(found: Found) -> dict[str, Table]:
    assert found.config is not None  # noqa: S101 -- some run is finished
    big = composed("train", ["model=mt_big"], RunConfig).model
    directions = len(found.config.data.parsed_directions)
    updates = updates_notes(found.results[PLAIN])
    model = found.config.model
    return table3(found.costs(), model, directions=directions, big=big, updates=updates)


def _conditions(
    config: ReproduceConfig, found: Found, name: str, metrics: Sequence[str]
) -> Iterator[tuple[str, Table]]:
    # Those that are there for others to take over from have no rows.
    shown = {key or AS_IT_IS: result for key, result in found.results.items() if result.methods}
    if name == "k":
        shown = {key: shown[key] for key in config.table.conditions if key in shown}
    if not shown:
        return
    # Those that change neither the dense model nor the control have that of the base runs.
    given = {key: config.table.conditions.get(key) for key in shown}
    one_control = [n for n, c in given.items() if n == AS_IT_IS or (c and c.changes is not None)]
    title = "Where does it pay?" if name == "study" else f"Gain against {config.table.number}"
    for metric in metrics:
        yield (
            named(name, metric),
            conditions_table(
                shown, metric, title=f"{title} {HEADINGS[metric]}", one_control=one_control
            ),
        )


def _figures(
    config: ReproduceConfig, plan: Plan, found: Found
) -> Iterator[tuple[str, FigureSection]]:
    yield from _neuron_figures(plan, found)
    given = {n: config.table.conditions.get(n) for n in found.results}
    places = {n: c.place for n, c in given.items() if c is not None and c.place is not None}
    for metric in _DRAWN:
        if metric not in found.metrics:
            continue
        if "table4" in config.table.tables:
            yield from _gap_figure(found, metric)
        if len(places) > 1:
            yield from _gain_figures(config, found, places, metric)


def _neuron_figures(plan: Plan, found: Found) -> Iterator[tuple[str, FigureSection]]:
    if found.config is None:
        return
    pivot = found.config.data.pivot
    k = found.config.report.overlap_k
    yield from overlap_sections(
        shares_at(found.base_statistics(), k, pivot=pivot),
        found.config.data.language_table(),
        pivot=pivot,
        k=k,
        published=next(line for line in paper().figure("overlap") if line.row == "mean"),
    )
    for method in plan.plain.methods:
        if masks := found.atlases(PLAIN, method):
            shared = [shares(atlas, pivot=pivot) for atlas in masks]
            made = [atlas.provenance for atlas in masks]
            yield sparsity_section(method, LABELS[method], shared, made=made)


def _gap_figure(found: Found, metric: str) -> Iterator[tuple[str, FigureSection]]:
    points = gaps(found.results[PLAIN], metric)
    if not any(points.values()):
        return
    panels = {
        side: [
            NamedPoint(
                point.language,
                point.gap.mean,
                point.gain.mean,
                point.gap.deviation,
                point.gain.deviation,
            )
            for point in of_side
        ]
        for side, of_side in points.items()
    }
    heading = HEADINGS[metric]
    figure = named_points(
        panels,
        across=f"dense − bilingual, {heading}",
        up=f"specialised − continue-dense, {heading}",
    )
    worse, better = ("right", "below") if metric in LOWER_IS_BETTER else ("left", "above")
    yield (
        named("interference", metric),
        FigureSection(
            f"Interference and gain, {heading}",
            figure,
            "A point a language, means and deviations over the seeds that have all four models: "
            f"{worse} of 0, sharing one model makes it worse; {better} 0, specialisation brings "
            "more than continuing the dense model does.",
        ),
    )


def _gain_figures(
    config: ReproduceConfig, found: Found, places: dict[str, str], metric: str
) -> Iterator[tuple[str, FigureSection]]:
    results = {name: found.results[name] for name in places if found.results[name].outcomes}
    if len(results) < 2:
        return
    number, heading = config.table.number, HEADINGS[metric]
    axes: dict[str, dict[str, str]] = {number: places}
    if sparsities := _sparsities(found, list(results)):
        axes["masked neurons"] = sparsities
    for axis, of_condition in axes.items():
        there = {name: results[name] for name in results if name in of_condition}
        gains = gain_curves(there, of_condition, metric)
        yield (
            named(f"gain-by-{axis.replace(' ', '-')}", metric),
            FigureSection(
                f"Gain against {axis}, {heading}",
                swept_curves({"": gains.curves}, gains.values, key=axis, metric=f"Δ {heading}"),
                f"{heading} over continue-dense, the mean over all directions; bars are deviations "
                f"over seeds. {LABELS[CONTROL]} is 0.",
            ),
        )


def _sparsities(found: Found, conditions: list[str]) -> dict[str, str]:
    """The masked share of the first method with masks, by condition; the mean over its seeds."""
    by_condition = {}
    for name in conditions:
        for method in found.results[name].methods:
            if atlases := found.atlases(name, method):
                mean = sum(map(masked_share, atlases)) / len(atlases)
                by_condition[name] = f"{mean:.4f}"
                break
    return by_condition if len(set(by_condition.values())) > 1 else {}
