"""Table 3: parameters added, time to find the sub-networks, memory of masks; measured and counted.

What the paper prints is beside what its shapes give (nsmt/models/costs.py), and what runs of nsmt
took is measured: seconds that runs recorded, bytes of the files in their checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nsmt.evaluation.paper import MARKS, paper
from nsmt.methods import SPECIALISED
from nsmt.models import costs
from nsmt.models.settings import ModelSettings
from nsmt.reporting.table_notes import published_notes
from nsmt.reporting.tables import MISSING, Table

# The paper's EC30: 60 directions; adapters of 256, which its +87 % implies.
PAPER_DIRECTIONS: Final = 60
PAPER_BOTTLENECK: Final = 256
PAPER_PARAMETERS: Final = 438_600_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What one system needs beside the dense model; None where nobody recorded it.

    `parameters` are those added to the `dense` ones, `seconds` were spent on finding sub-networks,
    `mask_bytes` are the files of masks in its checkpoint.
    """

    method: str
    label: str
    parameters: int | None
    dense: int
    seconds: float | None
    mask_bytes: int | None
    # Of the seconds, over seeds.
    deviation: float | None = None


def table3(
    found: Sequence[Cost],
    model: ModelSettings,
    *,
    directions: int,
    big: ModelSettings,
    updates: Sequence[str],
) -> dict[str, Table]:
    """The measured table and the arithmetic behind the paper's; `big` is the paper's model.

    `updates` are notes on how long systems were trained, to which times are due.
    """
    return {
        "table3": measured_table(found, model, directions=directions, updates=updates),
        "table3-arithmetic": arithmetic_table(big),
    }


def measured_table(
    found: Sequence[Cost], model: ModelSettings, *, directions: int, updates: Sequence[str]
) -> Table:
    """What runs needed, beside the paper's row of the same method."""
    printed = {row.method: row for row in paper().efficiency}
    columns = ["System", "Parameters added", "Share", "Time to find", "Masks", "As booleans"]
    columns += ["Paper: Δθ", "Paper: ΔT", "Paper: memory"]
    rows = []
    for cost in found:
        row = printed.get(cost.method)
        mark = "" if row is None else MARKS[row.firmness]
        theirs = [MISSING] * 3
        if row is not None:
            theirs = [
                f"{t}{mark}" if t else MISSING for t in (row.parameters, row.time, row.memory)
            ]
        rows.append(
            [
                cost.label,
                MISSING if cost.parameters is None else f"{cost.parameters:,}",
                MISSING if cost.parameters is None else f"{cost.parameters / cost.dense:+.1%}",
                _time(cost),
                format_bytes(cost.mask_bytes),
                format_bytes(_as_booleans(cost, model, directions=directions)),
                *theirs,
            ]
        )
    notes = [
        "Time to find: seconds that the run recorded for identification, and for what a method "
        "trains only to find its masks; mean ± deviation over seeds. Attempts that were killed "
        "outright are not in it.",
        "Smallest visible difference: parameters and bytes are counted, so that none is too small; "
        "of times, that between runs of one system, which is the deviation.",
        f"{MISSING}: without masks, there are none to find or to keep; or nobody recorded it. "
        "Masks: the files in the checkpoint. As booleans: a byte a masked weight and direction, "
        "as the paper counts.",
        *updates,
        *published_notes([row.firmness for row in paper().efficiency]),
        "The paper's numbers are of its EC30 model on four GPUs; times compare with nothing here.",
    ]
    return Table("Table 3: efficiency", columns, rows, notes)


def arithmetic_table(big: ModelSettings) -> Table:
    """The paper's numbers from the shapes of its model: derived, whatever the paper prints."""
    adapters = costs.adapter_parameters(big, bottleneck=PAPER_BOTTLENECK, sets=PAPER_DIRECTIONS)
    entries = [
        (
            "adapter_pair",
            f"Adapter_LP: 12 adapters of {PAPER_BOTTLENECK} a direction",
            f"{adapters / PAPER_PARAMETERS:+.1%}",
            costs.parameter_bytes(adapters),
        ),
        (
            "lass",
            "LaSS: a boolean for each weight of the layers",
            "0 %",
            costs.weight_mask_bytes(big, directions=PAPER_DIRECTIONS),
        ),
        (
            SPECIALISED,
            "Neuron Specialization: a boolean for each first feed-forward weight",
            "0 %",
            costs.row_mask_bytes(big, directions=PAPER_DIRECTIONS),
        ),
        (
            "",
            "the same as bits of neurons (nsmt)",
            "0 %",
            costs.neuron_mask_bytes(big, directions=PAPER_DIRECTIONS),
        ),
    ]
    printed = {row.method: f"{row.memory}{MARKS[row.firmness]}" for row in paper().efficiency}
    rows = [
        [name, share, format_bytes(size), f"{size / 1e9:.3g} GB", printed.get(method, MISSING)]
        for method, name, share, size in entries
    ]
    notes = [
        f"6 + 6 layers of 1024/4096, {PAPER_DIRECTIONS} directions, 438.6 M parameters. KiB and "
        "GiB are units of 1,024, GB of 1,000. What the paper calls GB fits units of 1,024 for "
        "adapters and LaSS, and of 1,000, rounded, for Neuron Specialization.",
        "Smallest visible difference: all of it is counted, so that none is too small.",
        *published_notes([row.firmness for row in paper().efficiency]),
    ]
    columns = ["What", "Parameters", "Memory", "In units of 1,000", "Paper: memory"]
    return Table("Table 3 by arithmetic", columns, rows, notes)


def _time(cost: Cost) -> str:
    shown = format_seconds(cost.seconds)
    return shown if cost.deviation is None else f"{shown} ± {format_seconds(cost.deviation)}"


def format_bytes(count: int | None) -> str:
    """In the largest unit of 1,024 that leaves a whole part."""
    if count is None:
        return MISSING
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} B" if unit == "B" else f"{size:,.2f} {unit}"


def format_seconds(seconds: float | None) -> str:
    """As 12 s, 5.3 min or 33.0 h."""
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.{2 if seconds < 1 else 1}f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _as_booleans(cost: Cost, model: ModelSettings, *, directions: int) -> int | None:
    """A byte a masked weight and direction, by what the method masks."""
    if cost.mask_bytes is None:
        return None
    if cost.method == "lass":
        return costs.weight_mask_bytes(model, directions=directions)
    return costs.row_mask_bytes(model, directions=directions)
