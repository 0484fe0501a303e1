"""A benchmark's figures in a file, with their certificate, as they are found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nsmt.benchmarks.timing import Figures
from nsmt.files import replace_text


def keep_figures(
    parts: Iterable[Figures], certificate: Mapping[str, Any], output: Path | None
) -> Figures:
    """All figures; `output` has those before a failure too."""
    figures: Figures = {}
    for found in parts:
        figures |= found
        if output is not None:
            short = {name: float(f"{value:.5g}") for name, value in figures.items()}
            record = {**certificate, "figures": short}
            replace_text(output, json.dumps(record, indent=1) + "\n")
    return figures
