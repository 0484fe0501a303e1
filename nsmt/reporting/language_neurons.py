"""Language neurons of a language model: where they are, and the page of all their results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from nsmt.files import replace_text
from nsmt.languages import Language
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.overlap import whole_iou
from nsmt.probing.language_matrices import members
from nsmt.records import certificate_entries
from nsmt.reporting.figures import layer_curves, save_figure
from nsmt.reporting.heatmaps import direction_heatmaps
from nsmt.reporting.html import FigureSection, Section, TableSection, render_report
from nsmt.reporting.language_fallback import fallback_figures, fallback_tables
from nsmt.reporting.language_lens import lens_figures, lens_tables
from nsmt.reporting.language_relations import relation_tables
from nsmt.reporting.language_results import (
    families_of,
    forcing_figures,
    forcing_tables,
    perplexity_figures,
    perplexity_tables,
    task_figures,
    task_tables,
)
from nsmt.reporting.tables import Table, save_tables
from nsmt.steering.interventions import LanguageNeurons

Tables = Callable[[Mapping[str, Any], Sequence[str]], dict[str, Table]]
Figures = Callable[[Mapping[str, Any], Sequence[str], Mapping[str, Language]], dict[str, Figure]]
# By step.
_SHOWN: Final[dict[str, tuple[Tables, Figures]]] = {
    "perplexity": (perplexity_tables, perplexity_figures),
    "forcing": (forcing_tables, forcing_figures),
    "fallback": (fallback_tables, lambda found, codes, _: fallback_figures(found, codes)),
    "lens": (lens_tables, lambda found, codes, _: lens_figures(found, codes)),
    "tasks": (task_tables, task_figures),
}


def language_page(
    neurons: LanguageNeurons,
    results: Mapping[str, Mapping[str, Any]],
    record: Mapping[str, Any],
    *,
    relations: Mapping[str, Any],
    into: Path,
    known: Mapping[str, Language],
) -> Path:
    """Write everything below a folder, in place of an earlier page's; the path of the page.

    `results` are by step, `relations` those of `nsmt.probing.language_numbers`; `known` tells name,
    family and script of each language.
    """
    atlas = neurons.atlas
    tables = neuron_tables(neurons, known) | relation_tables(relations, atlas.tasks)
    figures = {"layers": layer_figure(atlas), "overlap": overlap_figure(atlas, known)}
    for step, (tables_of, figures_of) in _SHOWN.items():
        if (found := results.get(step)) is not None:
            tables |= tables_of(found, atlas.tasks)
            figures |= figures_of(found, atlas.tasks, known)
    for shown in ("tables", "figures"):
        # An earlier release may have written others.
        shutil.rmtree(into / shown, ignore_errors=True)
    save_tables(tables, into / "tables")
    for name, figure in figures.items():
        save_figure(figure, into / "figures", name)
    sections: list[Section] = [TableSection(table) for table in tables.values()]
    for name, figure in figures.items():
        heading, caption = _SAID.get(name, (name, _OF_TASK))
        sections.append(FigureSection(heading, figure, caption))
    page = into / "report.html"
    model = record["config"]["language_model"]["name"]
    title = f"Language neurons of {model}"
    text = render_report(sections, certificate_entries(record), title=title)
    replace_text(page, text)
    return page


# Titles and captions.
_SAID = {
    "layers": ("Where language neurons are", "Neurons of each language by layer."),
    "overlap": ("What languages share", "Intersection over union of their neurons."),
    "perplexity": (
        "Neurons switched off",
        "Change of the loss on text of each language (column) when the neurons of a language (row) "
        "are switched off, beside random sets of the same size.",
    ),
    "fallback": (
        "Language after language switched off",
        "Shares of answers by their language (column); rows: what is off, with all rows above.",
    ),
    "lens": (
        "How well each layer predicts the text",
        "Nats a token of the residual stream after each layer, read by the last norm and the head.",
    ),
    "lens-agreement": (
        "Where the prediction is made",
        "Positions whose likeliest token is the last layer's.",
    ),
    "lens-scripts": (
        "In which script each layer predicts",
        "The probability of tokens of a script, by the language of the text.",
    ),
    "forcing": ("Answers in the language wanted", "Rows: the question's language."),
}
_OF_TASK = "Change of the score: the language tested (row), the language activated (column)."


def neuron_tables(neurons: LanguageNeurons, known: Mapping[str, Language]) -> dict[str, Table]:
    """How many neurons each language has, where, and with whom it shares them."""
    atlas, statistics = neurons.atlas, neurons.statistics
    members_LN = members(atlas)
    count_N = members_LN.sum(0)
    rows = [
        [
            known[language].name,
            known[language].family,
            str(int(own.sum())),
            str(int((own & (count_N > 1)).sum())),
            f"{int(statistics.units[atlas.sites[0].name][statistics.row(language)]):,}",
        ]
        for language, own in zip(atlas.tasks, members_LN, strict=True)
    ]
    rows.append(["all", "", str(int((count_N > 0).sum())), str(int((count_N > 1).sum())), ""])
    rule = atlas.provenance.get("rule", "")
    notes = [f"Rule {rule}; {members_LN.shape[1]:,} neurons in {len(atlas.sites)} layers."]
    by_layer = [
        [str(site.layer + 1), *(str(int(own)) for own in atlas.masks(site).sum(1))]
        for site in atlas.sites
    ]
    shared = [
        [one, *(str(int((mine & theirs).sum())) for theirs in members_LN)]
        for one, mine in zip(atlas.tasks, members_LN, strict=True)
    ]
    return {
        "neurons": Table(
            "Language neurons", ["language", "family", "neurons", "shared", "tokens"], rows, notes
        ),
        "layers": Table("Language neurons by layer", ["layer", *atlas.tasks], by_layer, notes),
        "shared": Table("Neurons that two languages share", ["", *atlas.tasks], shared, notes),
    }


def layer_figure(atlas: NeuronAtlas) -> Figure:
    """How many neurons each language has in each layer."""
    series = {
        language: [int(atlas.mask(language, site).sum()) for site in atlas.sites]
        for language in atlas.tasks
    }
    return layer_curves({"": series}, meaning="neurons")


def overlap_figure(atlas: NeuronAtlas, known: Mapping[str, Language]) -> Figure:
    """The IoU of every two languages' neurons."""
    panels, names = {"": whole_iou(atlas).numpy()}, atlas.tasks
    return direction_heatmaps(panels, names, families_of(names, known), meaning="IoU", scale=(0, 1))
