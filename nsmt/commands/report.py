"""`report`: tables, figures and one HTML page from what a run folder holds; nothing is measured."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from pydantic import Field

from nsmt.commands.config import RunConfig, recorded_config
from nsmt.commands.score import comparison_path
from nsmt.commands.translations import TRANSLATIONS
from nsmt.data.sources.lines import read_lines
from nsmt.errors import DataError
from nsmt.evaluation.results import Comparison
from nsmt.files import replace_text
from nsmt.methods import CONTROL, DENSE, LABELS
from nsmt.models.checkpoint import ATLAS
from nsmt.models.systems import CHECKPOINT
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import shares, shares_at
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.progress import result_console
from nsmt.records import certificate_entries, read_record
from nsmt.reporting.figures import Curve, save_figure, training_curves
from nsmt.reporting.html import (
    DefinitionSection,
    FigureSection,
    Sample,
    SamplesSection,
    Section,
    TableSection,
    TextSection,
    render_report,
)
from nsmt.reporting.neuron_sections import overlap_sections, sparsity_section
from nsmt.reporting.results_tables import comparison_tables
from nsmt.reporting.score_tables import summary_table
from nsmt.reporting.tables import save_tables
from nsmt.settings import Settings
from nsmt.training.schedule import IDENTIFICATION, STATISTICS


class ReportConfig(Settings):
    """All of `nsmt report`."""

    run: str = Field(description="the folder of a finished run")


_INTRODUCTION = (
    "The dense model was trained first. Continue-dense starts from its weights, with a fresh "
    "optimiser, and so does the method, but for bilingual models, on the same batches for the same "
    "number of updates. What the method brings is its difference to continue-dense; the difference "
    "to the dense model includes the further training."
)


def report_run(config: ReportConfig) -> None:
    """Write a finished run's report again and show its main table."""
    report(Path(config.run))
    show(Path(config.run))


def report(folder: Path) -> Path:
    """Write `report/` into a run folder and return the path of the page."""
    record = read_record(folder)
    config = recorded_config(folder, record)
    place = folder / "report"
    tables = comparison_tables(_comparisons(folder))
    save_tables(tables, place / "tables")
    figures = list(_figures(folder, config, record["stages"]))
    for name, section in figures:
        save_figure(section.figure, place / "figures", name)
    sections: list[Section] = [
        TextSection("What was compared", [_INTRODUCTION]),
        *(TableSection(table, open=name == "main") for name, table in tables.items()),
        *(section for _, section in figures),
        _samples(folder, config, record["stages"]),
        _data(record),
    ]
    page = render_report(sections, certificate_entries(record), title=config.run_name)
    replace_text(place / "report.html", page)
    return place / "report.html"


def show(folder: Path) -> None:
    """Print a summary and where everything is."""
    console = result_console()
    for comparison in _comparisons(folder)[-1:]:
        console.print(summary_table(comparison, title=folder.name).to_rich())
    page = (folder / "report" / "report.html").resolve()
    console.print(f"report: {page}", soft_wrap=True, highlight=False, markup=False)


def _comparisons(folder: Path) -> list[Comparison]:
    """Against the dense model and, last, against the control where there is one."""
    paths = [comparison_path(folder, baseline) for baseline in (DENSE, CONTROL)]
    found = [
        Comparison.from_json(path.read_text(encoding="utf-8")) for path in paths if path.is_file()
    ]
    if not found:
        raise DataError(f"{folder} has lost its results", fix=f"evaluate.py run={folder}")
    return found


def _figures(
    folder: Path, config: RunConfig, stages: Sequence[str]
) -> Iterator[tuple[str, FigureSection]]:
    yield (
        "training-curves",
        FigureSection(
            "Training",
            _curves(folder, stages),
            "Negative log-likelihood a target token in nats, on training batches and on the mean "
            "of the validation sets. Both branches begin where the dense model ended.",
        ),
    )
    path = folder / IDENTIFICATION / STATISTICS
    if not path.is_file():
        return
    pivot = config.data.pivot
    k = config.report.overlap_k
    found = shares_at([ActivationStatistics.load(path)], k, pivot=pivot)
    yield from overlap_sections(found, config.data.language_table(), pivot=pivot, k=k)
    for name in stages:
        place = folder / name / CHECKPOINT / ATLAS
        if place.is_file():
            atlas = NeuronAtlas.load(place)
            masks = [shares(atlas, pivot=pivot)]
            yield sparsity_section(name, LABELS[name], masks, made=[atlas.provenance])


def _curves(folder: Path, stages: Sequence[str]) -> Figure:
    training, validation = {}, {}
    start = 0.0
    for place, name in enumerate(stages):
        rows = _metrics(folder / name / "metrics.csv")
        training[LABELS[name]] = _curve(rows, "train/nll", start)
        validation[LABELS[name]] = _curve(rows, "valid/nll", start)
        if place == 0 and training[LABELS[name]].updates:
            start = training[LABELS[name]].updates[-1]
    return training_curves(training, validation, starts=[start] if len(stages) > 1 else [])


def _curve(rows: Sequence[Mapping[str, str]], key: str, start: float) -> Curve:
    points = [(float(row["step"]) + start, float(row[key])) for row in rows if row.get(key)]
    return Curve([update for update, _ in points], [value for _, value in points])


def _metrics(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _samples(folder: Path, config: RunConfig, stages: Sequence[str]) -> SamplesSection:
    samples = []
    for direction in map(str, config.data.parsed_directions):
        place = folder / TRANSLATIONS / direction
        columns = [_lines(place / f"{name}.txt") for name in ("src", "ref")]
        systems = {LABELS[name]: _lines(place / f"hyp.{name}.txt") for name in stages}
        for row in range(min(config.report.samples, len(columns[0]))):
            translations = {label: lines[row] for label, lines in systems.items()}
            samples.append(Sample(direction, columns[0][row], columns[1][row], translations))
    note = "The first sentences of each test set, not chosen."
    return SamplesSection("Translations", samples, note)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise DataError(f"{path} is missing", fix="restore it, or train the run again")
    return list(read_lines(path))


def _data(record: Mapping[str, Any]) -> DefinitionSection:
    entries = {"fingerprint": str(record["data_fingerprint"])}
    for pair, splits in record.get("preparation", {}).items():
        entries[pair] = ", ".join(f"{split} {count:,}" for split, count in splits.items())
    entries |= {f"licence of {code}": text for code, text in record.get("licences", {}).items()}
    return DefinitionSection("Data", entries)
