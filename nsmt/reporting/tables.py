"""Tables as CSV, Markdown, LaTeX (booktabs) and for the terminal.

A table is text in cells: numbers are formatted once, by whoever knows their precision, so that
all four forms say the same. Notes carry the metrics' signatures, without which a score cannot be
compared with another.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.markup import escape as escape_rich
from rich.table import Table as RichTable

from nsmt.files import replace_text

MISSING: Final = "–"
_LATEX_ESCAPES: Final = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\n": " ",
    "→": r"$\rightarrow$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "Δ": r"$\Delta$",
    "θ": r"$\theta$",
    "−": r"$-$",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "–": "--",
    "…": r"\ldots{}",
}
_MARKDOWN_SPECIAL: Final = re.compile(r"([\\`*_<>|~&]|(?<=\])[(\[])")
_NUMBER: Final = re.compile(r"[+−-]?\d")


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of text; the first column labels the rows.

    Every row has as many cells as there are columns, or a ValueError is raised.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in {len(self.columns)} columns: {row}")

    def numeric(self, column: int) -> bool:
        """Whether a column holds figures, to be set flush right."""
        cells = [row[column] for row in self.rows if row[column]]
        return column > 0 and all(_NUMBER.match(cell) or cell == MISSING for cell in cells)

    def to_csv(self) -> str:
        """Columns and rows as RFC 4180 text; title and notes are left out."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).writerows(
            [self.columns, *self.rows]
        )
        return text.getvalue()

    def to_markdown(self) -> str:
        """A GitHub-flavoured table with its title above and its notes below."""
        rules = ["---:" if self.numeric(place) else "---" for place in range(len(self.columns))]
        body = [
            "| " + " | ".join(map(escape_markdown, row)) + " |"
            for row in (self.columns, *self.rows)
        ]
        body.insert(1, "| " + " | ".join(rules) + " |")
        notes = [f"- {escape_markdown(note)}" for note in self.notes]
        blocks = [f"**{escape_markdown(self.title)}**", "\n".join(body), "\n".join(notes)]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def to_latex(self) -> str:
        """A `table` environment for the booktabs package."""
        shape = "".join("r" if self.numeric(place) else "l" for place in range(len(self.columns)))
        lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (self.columns, *self.rows)]
        notes = [rf"\par\footnotesize {escape_latex(note)}" for note in self.notes]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escape_latex(self.title)}}}",
                rf"\begin{{tabular}}{{{shape}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                *notes,
                r"\end{table}",
                "",
            ]
        )

    def to_rich(self) -> RichTable:
        """The table for a terminal."""
        table = RichTable(
            title=escape_rich(self.title),
            caption=escape_rich("\n".join(self.notes)) or None,
            caption_justify="left",
        )
        for place, column in enumerate(self.columns):
            flush_right = self.numeric(place)
            table.add_column(escape_rich(column), justify="right" if flush_right else "left")
        for row in self.rows:
            table.add_row(*map(escape_rich, row))
        return table


def save_tables(tables: Mapping[str, Table], folder: Path) -> None:
    """Write each table as NAME.csv, NAME.md and NAME.tex."""
    for name, table in tables.items():
        replace_text(folder / f"{name}.csv", table.to_csv())
        replace_text(folder / f"{name}.md", table.to_markdown())
        replace_text(folder / f"{name}.tex", table.to_latex())


def escape_latex(text: str) -> str:
    """`text` with everything that LaTeX would interpret escaped, on one line."""
    return "".join(_LATEX_ESCAPES.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """`text` with everything that would break a cell or become mark-up escaped, on one line."""
    return _MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.splitlines()))
