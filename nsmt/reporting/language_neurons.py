"""Language neurons of a language model: tables, figures and a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nsmt.files import replace_text
from nsmt.languages import CATALOGUE
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.records import certificate_entries
from nsmt.reporting.figures import layer_curves, save_figure
from nsmt.reporting.heatmaps import direction_heatmaps, signed_heatmaps
from nsmt.reporting.html import FigureSection, Section, TableSection, render_report
from nsmt.reporting.tables import MISSING, Table, save_tables
from nsmt.steering.interventions import LanguageNeurons

# Nats a token by change and language.
Matrix = Mapping[str, Mapping[str, float]]


def language_page(
    neurons: LanguageNeurons,
    results: Mapping[str, Mapping[str, Any]],
    record: Mapping[str, Any],
    *,
    into: Path,
) -> Path:
    """Write everything below a folder; the path of the page."""
    atlas = neurons.atlas
    tables = neuron_tables(neurons)
    figures: dict[str, Figure] = {"layers": layer_figure(atlas), "overlap": overlap_figure(atlas)}
    if (found := results.get("perplexity")) is not None:
        tables |= perplexity_tables(found, atlas.tasks)
        figures["perplexity"] = perplexity_figure(found, atlas.tasks)
    if (found := results.get("forcing")) is not None:
        tables |= forcing_tables(found, atlas.tasks)
        figures["forcing"] = forcing_figure(found, atlas.tasks)
    if (found := results.get("tasks")) is not None:
        tables |= task_tables(found)
        figures |= task_figures(found, atlas.tasks)
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
    "forcing": ("Answers in the language wanted", "Rows: the question's language."),
}
_OF_TASK = "Change of the score: the language tested (row), the language activated (column)."


def neuron_tables(neurons: LanguageNeurons) -> dict[str, Table]:
    """How many neurons each language has, where, and with whom it shares them."""
    atlas, statistics = neurons.atlas, neurons.statistics
    members = _members(atlas)
    count = members.sum(0)
    rows = [
        [
            CATALOGUE[language].name,
            CATALOGUE[language].family,
            str(int(own.sum())),
            str(int((own & (count > 1)).sum())),
            f"{int(statistics.units[atlas.sites[0].name][statistics.row(language)]):,}",
        ]
        for language, own in zip(atlas.tasks, members, strict=True)
    ]
    rows.append(["all", "", str(int((count > 0).sum())), str(int((count > 1).sum())), ""])
    rule = atlas.provenance.get("rule", "")
    notes = [f"Rule {rule}; {members.shape[1]:,} neurons in {len(atlas.sites)} layers."]
    by_layer = [
        [str(site.layer + 1), *(str(int(own)) for own in atlas.masks(site).sum(1))]
        for site in atlas.sites
    ]
    shared = [
        [one, *(str(int((mine & theirs).sum())) for theirs in members)]
        for one, mine in zip(atlas.tasks, members, strict=True)
    ]
    return {
        "neurons": Table(
            "Language neurons", ["language", "family", "neurons", "shared", "tokens"], rows, notes
        ),
        "layers": Table("Language neurons by layer", ["layer", *atlas.tasks], by_layer, notes),
        "shared": Table("Neurons that two languages share", ["", *atlas.tasks], shared, notes),
        "families": _family_table(atlas.tasks, members),
    }


def _family_table(tasks: Sequence[str], members: np.ndarray) -> Table:
    same, other = list[float](), list[float]()
    for one, two in combinations(range(len(tasks)), 2):
        union = (members[one] | members[two]).sum()
        iou = (members[one] & members[two]).sum() / union if union else 0.0
        family = {CATALOGUE[tasks[place]].family for place in (one, two)}
        (same if len(family) == 1 else other).append(float(iou))
    rows = [
        [name, str(len(values)), f"{fmean(values):.3f}" if values else MISSING]
        for name, values in (("within a family", same), ("across families", other))
    ]
    return Table("Overlap of neuron sets", ["pairs", "number", "mean IoU"], rows)


def perplexity_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """Perplexity as it is, its change for each language switched off, and how specific that is."""
    means = _means(found)
    plain = means[""]
    columns = ["switched off", *languages]
    base = ["nothing (perplexity)", *(f"{np.exp(plain[language]):.2f}" for language in languages)]
    rows = [base] + [
        [change, *(f"{100 * np.expm1(row[of] - plain[of]):+.1f} %" for of in languages)]
        for change, row in means.items()
        if change
    ]
    kinds = dict.fromkeys(_kind(change) for change in means if change)
    summary = []
    for kind in kinds:
        own, others = specificity(means, languages, kind=kind)
        larger = sum(mine > theirs for mine, theirs in zip(own, others, strict=True))
        summary.append(
            [
                kind or "language neurons",
                f"{fmean(own):+.4f}",
                f"{fmean(others):+.4f}",
                f"{larger} of {len(own)}",
            ]
        )
    note = "Changes of perplexity against the model as it is, on held-out text."
    return {
        "perplexity": Table("Perplexity when neurons are off", columns, rows, [note]),
        "specificity": Table(
            "Is a language hurt most by its own neurons?",
            ["neurons", "own language", "mean of the others", "own is hurt more"],
            summary,
            ["Change in nats a token; random sets have as many neurons in each layer."],
        ),
    }


def specificity(
    means: Matrix, languages: Sequence[str], *, kind: str = ""
) -> tuple[list[float], list[float]]:
    """For each language switched off: the change on its own text, and the mean on the others'."""
    own, others = [], []
    for language in languages:
        row = means[f"{kind} {language}" if kind else language]
        change = {each: row[each] - means[""][each] for each in languages}
        own.append(change[language])
        others.append(fmean(value for each, value in change.items() if each != language))
    return own, others


def forcing_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """The share of answers in the language wanted, with and without the intervention."""
    tables, rates = {}, {}
    for kind in ("plain", "forced"):
        matrix = _success(found[kind], languages)
        rates[kind] = matrix
        rows = [
            [asked, *(f"{100 * value:.0f}" for value in row)]
            for asked, row in zip(languages, matrix, strict=True)
        ]
        title = "as the model is" if kind == "plain" else "under intervention"
        tables[f"forcing-{kind}"] = Table(
            f"Answers in the language wanted, {title} (%)",
            ["asked in", *languages],
            rows,
            [f"Identified by {found['identifier']}; columns are the languages wanted."],
        )
    apart = ~np.eye(len(languages), dtype=bool)
    rows = [
        [name, *(f"{100 * matrix[place].mean():.1f}" for matrix in rates.values())]
        for name, place in (("another language", apart), ("the question's own", ~apart))
    ]
    tables["forcing"] = Table(
        "Answers in the language wanted (%)", ["wanted", "as it is", "under intervention"], rows
    )
    return tables


def task_tables(found: Mapping[str, Any]) -> dict[str, Table]:
    """Scores as the model is, and what activating each language changes, by task and metric."""
    tables = {}
    for task, metric, of_metric in _metrics(found):
        activated = [name for name in next(iter(of_metric.values())) if name]
        rows = [
            [
                language,
                f"{scores['']:.1f}",
                *(f"{scores[name] - scores['']:+.1f}" for name in activated),
            ]
            for language, scores in of_metric.items()
        ]
        tables[f"task-{task}-{metric.replace(' ', '-')}"] = Table(
            f"{task}: {metric}",
            ["tested in", "as it is", *activated],
            rows,
            ["Columns: change with the neurons of a language activated."],
        )
    return tables


def task_figures(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Figure]:
    """One heat map a task: changes of each metric by language tested (row) and activated."""
    names = [languages[place] for place in _by_family(languages)]
    figures: dict[str, dict[str, np.ndarray]] = {}
    for task, metric, of_metric in _metrics(found):
        figures.setdefault(f"task-{task}", {})[metric] = np.array(
            [
                [
                    scores[name] - scores[""] if (scores := of_metric.get(tested)) else np.nan
                    for name in names
                ]
                for tested in names
            ]
        )
    return {
        name: signed_heatmaps(panels, names, _families(names), meaning="points")
        for name, panels in figures.items()
    }


def _metrics(found: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, dict[str, float]]]]:
    """Each task's metrics: {language tested: {language activated: score}}."""
    for task, of_language in found.items():
        for metric in next(iter(next(iter(of_language.values())).values())):
            yield (
                task,
                metric,
                {
                    language: {name: scores[metric] for name, scores in of_activated.items()}
                    for language, of_activated in of_language.items()
                },
            )


def layer_figure(atlas: NeuronAtlas) -> Figure:
    """How many neurons each language has in each layer."""
    series = {
        language: [int(atlas.mask(language, site).sum()) for site in atlas.sites]
        for language in atlas.tasks
    }
    return layer_curves({"": series}, meaning="neurons")


def overlap_figure(atlas: NeuronAtlas) -> Figure:
    """The IoU of every two languages' neurons."""
    members = _members(atlas).astype(float)
    both = members @ members.T
    size = members.sum(1)
    union = size[:, None] + size[None] - both
    iou = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    order = _by_family(atlas.tasks)
    names = [atlas.tasks[place] for place in order]
    return direction_heatmaps(
        {"": iou[np.ix_(order, order)]}, names, _families(names), meaning="IoU", scale=(0, 1)
    )


def perplexity_figure(found: Mapping[str, Any], languages: Sequence[str]) -> Figure:
    """Changes in nats a token: a row a language switched off, a column a language of text."""
    means = _means(found)
    names = [languages[place] for place in _by_family(languages)]
    panels = {}
    for kind in dict.fromkeys(_kind(change) for change in means if change):
        panels[kind or "language neurons"] = np.array(
            [
                [means[f"{kind} {off}" if kind else off][on] - means[""][on] for on in names]
                for off in names
            ]
        )
    return signed_heatmaps(panels, names, _families(names), meaning="nats a token")


def forcing_figure(found: Mapping[str, Any], languages: Sequence[str]) -> Figure:
    """Shares of answers in the language wanted."""
    names = [languages[place] for place in _by_family(languages)]
    panels = {
        "as it is": _success(found["plain"], names),
        "under intervention": _success(found["forced"], names),
    }
    return direction_heatmaps(panels, names, _families(names), meaning="share", scale=(0, 1))


def _members(atlas: NeuronAtlas) -> np.ndarray:
    """All sites side by side: bool [T, N]."""
    return np.concatenate([atlas.masks(site).numpy() for site in atlas.sites], axis=1)


def _means(found: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {
        change: {language: each["nll"] / each["tokens"] for language, each in row.items()}
        for change, row in found.items()
    }


def _kind(change: str) -> str:
    """ "random 1" of "random 1 de"; empty for a language's own neurons."""
    return change.rpartition(" ")[0]


def _success(answers: Sequence[Mapping[str, Any]], languages: Sequence[str]) -> np.ndarray:
    hits: dict[tuple[str, str], list[bool]] = {}
    for answer in answers:
        hits.setdefault((answer["asked"], answer["wanted"]), []).append(
            answer["came"] == answer["wanted"]
        )
    return np.array([[fmean(hits[asked, wanted]) for wanted in languages] for asked in languages])


def _by_family(languages: Sequence[str]) -> list[int]:
    families = _families(languages)
    first = {family: place for place, family in reversed(list(enumerate(families)))}
    return sorted(range(len(languages)), key=lambda place: (first[families[place]], place))


def _families(languages: Sequence[str]) -> list[str]:
    return [CATALOGUE[language].family for language in languages]
