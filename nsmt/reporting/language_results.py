"""What languages' neurons do: tables and figures of perplexity, forcing and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nsmt.languages import Language
from nsmt.probing.language_matrices import (
    harm,
    kind_of,
    own_and_other_harm,
    success,
    token_means,
)
from nsmt.reporting.heatmaps import direction_heatmaps, signed_heatmaps
from nsmt.reporting.tables import Table


def perplexity_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """Perplexity as it is, its change for each language switched off, and how specific that is."""
    means = token_means(found)
    plain = means[""]
    columns = ["switched off", *languages]
    base = ["nothing (perplexity)", *(f"{np.exp(plain[language]):.2f}" for language in languages)]
    rows = [base] + [
        [change, *(f"{100 * np.expm1(row[of] - plain[of]):+.1f} %" for of in languages)]
        for change, row in means.items()
        if change
    ]
    kinds = dict.fromkeys(kind_of(change) for change in means if change)
    summary = []
    for kind in kinds:
        own, others = own_and_other_harm(means, languages, kind=kind)
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


def perplexity_figures(
    found: Mapping[str, Any], languages: Sequence[str], known: Mapping[str, Language]
) -> dict[str, Figure]:
    """Changes in nats a token: a row a language switched off, a column a language of text."""
    means = token_means(found)
    panels = {
        kind or "language neurons": harm(means, languages, kind=kind)
        for kind in dict.fromkeys(kind_of(change) for change in means if change)
    }
    figure = signed_heatmaps(
        panels, languages, families_of(languages, known), meaning="nats a token"
    )
    return {"perplexity": figure}


def forcing_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """The share of answers in the language wanted, with and without the intervention."""
    tables, rates = {}, {}
    for kind in ("plain", "forced"):
        matrix = success(found[kind], languages)
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
        for name, place in (
            ("another language", apart),
            ("the question's own", ~apart),
            ("any", apart | ~apart),
        )
    ]
    tables["forcing"] = Table(
        "Answers in the language wanted (%)", ["wanted", "as it is", "under intervention"], rows
    )
    return tables


def forcing_figures(
    found: Mapping[str, Any], languages: Sequence[str], known: Mapping[str, Language]
) -> dict[str, Figure]:
    """Shares of answers in the language wanted."""
    panels = {
        "as it is": success(found["plain"], languages),
        "under intervention": success(found["forced"], languages),
    }
    figure = direction_heatmaps(
        panels, languages, families_of(languages, known), meaning="share", scale=(0, 1)
    )
    return {"forcing": figure}


def task_tables(found: Mapping[str, Any], languages: Sequence[str]) -> dict[str, Table]:
    """Scores as the model is, and what activating each language changes, by task and metric."""
    tables = {}
    for task, metric, of_metric in _metrics(found):
        lacking = found["lacking"].get(task)
        rows = [
            [
                language,
                f"{scores['']:.1f}",
                *(f"{scores[name] - scores['']:+.1f}" for name in languages),
            ]
            for language, scores in of_metric.items()
        ]
        tables[f"task-{task}-{metric.replace(' ', '-')}"] = Table(
            f"{task}: {metric}",
            ["tested in", "as it is", *languages],
            rows,
            [
                "Columns: change with the neurons of a language activated.",
                *(["The set has no " + ", ".join(lacking) + "."] if lacking else []),
                *_signatures(found["signatures"][task], metric),
            ],
        )
    return tables


def task_figures(
    found: Mapping[str, Any], languages: Sequence[str], known: Mapping[str, Language]
) -> dict[str, Figure]:
    """One heat map a task: changes of each metric by language tested (row) and activated.

    Blank are rows of languages that were not tested, and columns of those without neurons.
    """
    metrics = list(_metrics(found))
    tested = [language for *_, of_metric in metrics for language in of_metric]
    names = list(dict.fromkeys([*languages, *tested]))
    figures: dict[str, dict[str, np.ndarray]] = {}
    for task, metric, of_metric in metrics:
        figures.setdefault(f"task-{task}", {})[metric] = np.array(
            [
                [
                    scores.get(name, np.nan) - scores.get("", np.nan)
                    for name in names
                    for scores in [of_metric.get(row, {})]
                ]
                for row in names
            ]
        )
    return {
        name: signed_heatmaps(panels, names, families_of(names, known), meaning="points")
        for name, panels in figures.items()
    }


def families_of(languages: Sequence[str], known: Mapping[str, Language]) -> list[str]:
    """The family of each."""
    return [known[language].family for language in languages]


def _signatures(of_task: Mapping[str, Mapping[str, str]], metric: str) -> list[str]:
    """Each signature with the languages that have it."""
    languages: dict[str, list[str]] = {}
    for language, of_metric in of_task.items():
        if metric in of_metric:
            languages.setdefault(of_metric[metric], []).append(language)
    return [f"{', '.join(some)}: {signature}" for signature, some in languages.items()]


def _metrics(found: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, dict[str, float]]]]:
    """Each task's metrics: {language tested: {language activated: score}}."""
    for task, of_language in found["scores"].items():
        for metric in next(iter(next(iter(of_language.values())).values())):
            yield (
                task,
                metric,
                {
                    language: {name: scores[metric] for name, scores in of_activated.items()}
                    for language, of_activated in of_language.items()
                },
            )
