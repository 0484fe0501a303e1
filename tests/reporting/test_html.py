import re
from html.parser import HTMLParser

import pytest

from nsmt.reporting.figures import Curve, training_curves
from nsmt.reporting.html import (
    DefinitionSection,
    FigureSection,
    Sample,
    SamplesSection,
    TableSection,
    TextSection,
    render_report,
)
from nsmt.reporting.tables import Table

HOSTILE = "<script>alert('x')</script> & \"quoted\""


class Balanced(HTMLParser):
    """Fails on tags that do not close in order."""

    VOID = ("meta", "br", "hr", "img", "link", "path", "use", "rect", "input", "stop", "line")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page():
    curves = {"dense": Curve([1, 2], [3.0, 2.0])}
    sections = [
        TextSection("Text", [HOSTILE]),
        TableSection(
            Table("Table", ["", "score"], [["a", "1.0"], [HOSTILE, "+0.2 [+0.1, +0.3]*"]])
        ),
        FigureSection("Curves", training_curves(curves, curves), HOSTILE),
        DefinitionSection("Data", {"fingerprint": "abc", HOSTILE: HOSTILE}),
        SamplesSection("Samples", [Sample("en-de", HOSTILE, "ref", {"dense": HOSTILE})], HOSTILE),
    ]
    return render_report(sections, {"command": HOSTILE}, title=HOSTILE)


def test_text_of_others_is_never_markup(page):
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 8


def test_the_page_needs_nothing_beside_it(page):
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page)
    assert "@import" not in page
    assert "<svg" in page


def test_tags_close_in_order(page):
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
