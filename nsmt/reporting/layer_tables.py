"""What the figures of neurons show, as tables by layer, beside the paper's values (its Figure 2).

The paper's are of its own model and corpus, with six layers a stack: only at its scale is there a
difference to them. Elsewhere it is the change from the first layer to the last that compares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Final

from nsmt.evaluation.paper import MARKS, PaperLayers, paper
from nsmt.neurons.overlap import Shares, StackShares
from nsmt.neurons.sites import STACKS
from nsmt.reporting import neurons
from nsmt.reporting.table_notes import published_notes
from nsmt.reporting.tables import MISSING, Table

OF_ANOTHER: Final = "which are of another model and corpus"
# Values by layer, by the name of a line.
_Lines = Mapping[str, Sequence[float]]


def layer_tables(
    by_k: Mapping[float, Sequence[Shares]], *, pivot: str, of_paper: bool
) -> dict[str, Table]:
    """Overlap and sparsity of dense models, one a seed, at each k that the paper's values have.

    None where there are no models; no overlap where a stack has nothing to compare.
    """
    if not any(by_k.values()):
        return {}
    tables = {}
    overlap, sparsity = paper().figure("overlap"), paper().figure("sparsity")
    if neurons.comparable(next(iter(by_k.values()))[0]):
        tables["iou-by-depth"] = _table(
            by_k,
            _overlap,
            overlap,
            title="Overlap by layer",
            of_paper=of_paper,
            notes=[
                f"IoU of pairs of directions; encoders X→{pivot}, decoders {pivot}→X. Chance: "
                "of random sets of the same sizes. The paper's are cut to whole percent by pair: "
                "its means are up to 0.01 too low.",
            ],
        )
    tables["sparsity-by-layer"] = _table(
        by_k,
        lambda shares: shares.masked,
        [line.model_copy(update={"row": line.row.replace("en", pivot)}) for line in sparsity],
        title="Sparsity by layer",
        of_paper=of_paper,
        notes=["The share of neurons that a direction may not use at k."],
    )
    return tables


def _overlap(shares: StackShares) -> _Lines:
    return {
        "mean": [fmean(values) for values in shares.pairs],
        "median": [median(values) for values in shares.pairs],
        "chance": shares.chance,
    }


def _table(
    by_k: Mapping[float, Sequence[Shares]],
    lines: Callable[[StackShares], _Lines],
    published: Sequence[PaperLayers],
    *,
    title: str,
    of_paper: bool,
    notes: Sequence[str],
) -> Table:
    first, *_ = next(iter(by_k.values()))
    depths = [len(first[stack].sites) for stack in STACKS]
    depth = max(*depths, *(len(line.of(stack)) for line in published for stack in STACKS))
    rows = [
        [stack, f"{k:g}", *cells]
        for k in dict.fromkeys(line.k for line in published)
        for stack in STACKS
        for cells in _rows(
            [lines(shares[stack]) for shares in by_k[k]],
            [line for line in published if line.k == k],
            stack,
            depth=depth,
            of_paper=of_paper,
        )
    ]
    columns = ["Stack", "k", "Values", "Whose", *map(str, range(1, depth + 1)), "last − first"]
    seeds = len(next(iter(by_k.values())))
    firmnesses = [line.firmness for line in published]
    if "firm" in firmnesses:
        # Their changes from the first layer to the last.
        firmnesses.append("derived")
    told = "that between dense models, which is the deviation."
    notes = [
        *notes,
        f"Here: mean ± deviation over {seeds} dense models, one a seed.",
        f"Smallest visible difference: {told if seeds > 1 else 'not known of one dense model.'}",
        *published_notes(firmnesses),
        *([] if of_paper else [f"Beside them the paper's, {OF_ANOTHER}."]),
    ]
    return Table(title, columns, rows, notes)


def _rows(
    found: Sequence[_Lines],
    published: Sequence[PaperLayers],
    stack: str,
    *,
    depth: int,
    of_paper: bool,
) -> Iterator[list[str]]:
    """Each line here over seeds, and below it the paper's and, at its own scale, the difference."""
    theirs = {line.row: line for line in published}
    for name in found[0]:
        ours = [_with_change(each[name]) for each in found]
        *layers, change = zip(*ours, strict=True)
        shown = [*map(_spread, layers), _spread(change, signed=True)]
        yield [name, "here", *_padded(shown, depth)]
        if name not in theirs:
            continue
        line = theirs[name]
        values = _with_change(line.of(stack))
        mark = MARKS[line.firmness]
        cells = [f"{value:.3f}{mark}" for value in values[:-1]]
        cells.append(f"{values[-1]:+.3f}{mark or MARKS['derived']}")
        yield [name, "paper", *_padded(cells, depth)]
        if of_paper and len(values) == len(ours[0]):
            gaps = [f"{m - v:+.3f}" for m, v in zip(neurons.means(ours), values, strict=True)]
            yield [name, "here − paper", *_padded(gaps, depth)]


def _with_change(values: Sequence[float]) -> list[float]:
    return [*values, values[-1] - values[0]]


def _padded(cells: Sequence[str], depth: int) -> list[str]:
    """The change stays in the last column, whatever the number of layers."""
    *layers, change = cells
    return [*layers, *[MISSING] * (depth - len(layers)), change]


def _spread(values: Sequence[float], *, signed: bool = False) -> str:
    text = f"{fmean(values):{'+' if signed else ''}.3f}"
    return text if len(values) < 2 else f"{text} ± {stdev(values):.3f}"
