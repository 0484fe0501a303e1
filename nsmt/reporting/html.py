"""The report: one HTML file that needs nothing beside it, readable in light and in dark.

Figures are inline SVG whose ink follows the page's colours; there are no scripts, fonts or links
to fetch. A report is a title, a birth certificate and a list of sections, in the order given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from nsmt.reporting.figures import INK, MUTED, to_svg
from nsmt.reporting.tables import MISSING, Table

_TEMPLATES: Final = Path(__file__).parent / "templates"
_DIFFERENCE: Final = re.compile(r"([+-][\d.]+) (\[[^]]*\])(\*?)")


@dataclass(frozen=True, slots=True)
class TextSection:
    """Paragraphs of plain text."""

    kind: ClassVar[str] = "text"
    title: str
    paragraphs: Sequence[str]


@dataclass(frozen=True, slots=True)
class TableSection:
    """A table; its own title is the section's."""

    kind: ClassVar[str] = "table"
    table: Table
    open: bool = True

    @property
    def title(self) -> str:
        """The title of the table."""
        return self.table.title


@dataclass(frozen=True, slots=True)
class FigureSection:
    """A figure with the caption that says what it shows."""

    kind: ClassVar[str] = "figure"
    title: str
    figure: Figure
    caption: str


@dataclass(frozen=True, slots=True)
class DefinitionSection:
    """Names and values, such as the counts of a preparation."""

    kind: ClassVar[str] = "definitions"
    title: str
    entries: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sentence with its reference and each system's translation, by label."""

    direction: str
    source: str
    reference: str
    translations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SamplesSection:
    """Sentences translated by several systems."""

    kind: ClassVar[str] = "samples"
    title: str
    samples: Sequence[Sample]
    note: str = ""


Section = TextSection | TableSection | FigureSection | DefinitionSection | SamplesSection


def render_report(
    sections: Sequence[Section],
    certificate: Mapping[str, str],
    *,
    title: str,
    subtitle: str = "",
) -> str:
    """The whole document as text.

    `certificate` says how its numbers came about: command, commit, seed, fingerprint of the data,
    versions. It closes the report.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.globals["inline_svg"] = _inline_svg
    template = environment.get_template("report.html.j2")
    return template.render(
        title=title, subtitle=subtitle, certificate=certificate, sections=sections
    )


def _cell(text: str) -> Markup:
    """A difference with its interval set apart; all else as it is."""
    found = _DIFFERENCE.fullmatch(text)
    if found is None:
        return (
            Markup('<span class="none">{}</span>').format(text) if text == MISSING else escape(text)
        )
    value, interval, mark = found.groups()
    strength = "clear" if mark else "unclear"
    return Markup('<span class="{}">{}{}</span> <span class="interval">{}</span>').format(
        strength, value, mark, interval
    )


def _inline_svg(section: FigureSection, number: int) -> Markup:
    """The figure for use inside the page: no XML header, the page's ink, a text alternative."""
    svg = to_svg(section.figure, salt=f"figure-{number}")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(INK, "var(--ink)").replace(MUTED, "var(--muted)")
    label = escape(section.title)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))  # noqa: S704
