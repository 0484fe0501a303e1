"""The parts of a page that show neurons: overlap by layer and against depth, sparsity, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nsmt.evaluation.paper import PaperLayers
from nsmt.languages import LanguageTable
from nsmt.neurons.overlap import Shares
from nsmt.neurons.sites import STACKS
from nsmt.reporting import neurons
from nsmt.reporting.html import FigureSection
from nsmt.reporting.layer_tables import OF_ANOTHER


def overlap_sections(
    found: Sequence[Shares],
    languages: LanguageTable,
    *,
    pivot: str,
    k: float,
    published: PaperLayers | None = None,
) -> Iterator[tuple[str, FigureSection]]:
    """What was found at k of dense models, one a seed; none where a stack has nothing to compare.

    Published means are drawn where they are of the same k and of as many layers.
    """
    if not found or not neurons.comparable(found[0]):
        return
    dots = {} if published is None or published.k != k else _as_deep(published, found[0])
    several = len(found) > 1
    seeds = f"{len(found)} dense models, one a seed" if several else "the dense model"
    yield (
        "iou-heatmaps",
        FigureSection(
            "Overlap by layer and family",
            neurons.overlap_heatmaps(found, languages, pivot=pivot),
            f"Intersection over union of the neurons found at k = {k:g} in {seeds}"
            f"{', the mean' if several else ''}; languages ordered by family. Colours are the "
            "values themselves.",
        ),
    )
    yield (
        "iou-by-depth",
        FigureSection(
            "Overlap against depth",
            neurons.overlap_by_depth(found, pivot=pivot, published=dots),
            f"All pairs of directions at k = {k:g} in {seeds}; the dashed line is the overlap of "
            "random sets of the same sizes."
            + (f" Black marks: the paper's means, {OF_ANOTHER}." if dots else ""),
        ),
    )


def _as_deep(published: PaperLayers, shares: Shares) -> dict[str, Sequence[float]]:
    """The published values of stacks that have as many layers here."""
    return {
        stack: published.of(stack)
        for stack in STACKS
        if len(published.of(stack)) == len(shares[stack].sites)
    }


def sparsity_section(
    method: str, label: str, found: Sequence[Shares], *, made: Sequence[Mapping[str, Any]]
) -> tuple[str, FigureSection]:
    """The share of neurons that a method's masks, one atlas a seed, leave out.

    `made` are the records of these atlases, their provenance.
    """
    mean = "; the mean over seeds" if len(found) > 1 else ""
    rule = " and ".join(dict.fromkeys(map(rule_of, made)))
    return (
        f"sparsity-{method}",
        FigureSection(
            f"Sparsity of {label}",
            neurons.sparsity_by_layer(found),
            f"The share of neurons that a direction may not use{rule and f', {rule}'}{mean}.",
        ),
    )


def rule_of(provenance: Mapping[str, Any]) -> str:
    """How an atlas was made, from its own record; empty where that does not tell."""
    rule = provenance.get("rule")
    if rule == "random":
        return "drawn at random, as many as a rule takes"
    if rule == "bernoulli":
        return f"each drawn with probability {provenance['rate']:g}"
    selection = provenance.get("selection")
    if selection is None:
        return ""
    k = f"at k = {selection['k']:g}"
    sides = [
        f"{stack} {side.partition('_')[0]} pivot {own:g}"
        for side in ("from_pivot", "into_pivot")
        for stack, own in selection.get(side, {}).items()
        if own is not None
    ]
    if sides:
        k += f" ({', '.join(sides)})"
    if rule == "layer_budget":
        whole = provenance.get("budget") == "model"
        k = f"as many in {'the whole model' if whole else 'each stack'} as {k}"
    only = provenance.get("only")
    return f"{k}, {only} alone" if only else k
