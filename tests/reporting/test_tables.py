import ast
import csv
import io
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import nsmt
from nsmt.reporting.results_tables import direction_table, group_table, main_table
from nsmt.reporting.score_tables import scores_table, summary_table
from nsmt.reporting.tables import Table, escape_latex

CELLS = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="\x85"),
    max_size=12,
)


@st.composite
def tables(draw):
    width = draw(st.integers(1, 4))
    row = st.lists(CELLS, min_size=width, max_size=width)
    return Table(draw(CELLS), draw(row), draw(st.lists(row, max_size=4)), draw(st.lists(CELLS)))


@given(tables())
def test_csv_reads_back_as_it_was(table):
    rows = list(csv.reader(io.StringIO(table.to_csv(), newline="")))
    expected = [list(row) for row in (table.columns, *table.rows)]
    assert [row or [""] for row in rows] == expected


@given(tables())
def test_markdown_has_one_line_a_row_and_no_stray_bars(table):
    lines = [line for line in table.to_markdown().splitlines() if line.startswith("| ")]
    assert len(lines) == len(table.rows) + 2
    for line in lines:
        assert line.replace("\\|", "").count("|") == len(table.columns) + 1


@given(CELLS)
def test_latex_leaves_nothing_for_latex_to_interpret(text):
    escaped = escape_latex(text)
    for command in (r"\textbackslash{}", r"\textasciitilde{}", r"\textasciicircum{}"):
        escaped = escaped.replace(command, "")
    for character in "&%#_":
        assert escaped.count(character) == escaped.count(f"\\{character}")


def texts_of(source):
    """Every text in a program but for its docstrings."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def test_latex_knows_every_character_of_our_own_words():
    rooms = Path(nsmt.__file__).parent
    files = [*rooms.glob("reporting/*.py"), *rooms.glob("evaluation/*.py")]
    words = "".join(text for file in files for text in texts_of(file.read_text("utf-8")))
    assert "θ" in words
    unknown = {
        each
        for each in escape_latex(words)
        # pdfLaTeX's utf8 has the letters of Latin-1 and Latin Extended-A.
        if ord(each) > 126 and not (unicodedata.category(each)[0] == "L" and ord(each) < 0x180)
    }
    assert not unknown


@given(tables())
def test_the_terminal_shows_markup_as_text(table):
    console = Console(width=400, file=io.StringIO(), record=True)
    console.print(table.to_rich())
    assert console.export_text()


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="a row of 1 cells"):
        Table("t", ["a", "b"], [["1"]])


def test_the_control_follows_the_dense_model_in_the_main_table(comparisons):
    against = comparisons["continue_dense"]
    table = main_table(against, also=[comparisons["dense"]])
    assert [row[0] for row in table.rows] == ["Dense", "Dense, continued", "Neuron specialisation"]
    assert any("Smallest visible difference" in note for note in table.notes)
    assert any("tok:13a" in note for note in table.notes)


def test_a_table_without_the_control_says_so(comparisons):
    from dataclasses import replace

    comparison = comparisons["dense"]
    systems = tuple(each for each in comparison.systems if each.name != "continue_dense")
    table = main_table(replace(comparison, systems=systems))
    assert any("longer training" in note for note in table.notes)


def test_the_overall_mean_is_the_mean_of_the_directions(comparisons):
    comparison = comparisons["dense"]
    table = group_table(comparison, "bleu")
    overall = next(row for row in table.rows if row[0] == "All")
    values = [scores["bleu"] for scores in comparison.system("dense").scores.values()]
    assert overall[2] == f"{sum(values) / len(values):.2f}"


def test_every_direction_has_a_row(comparisons):
    comparison = comparisons["continue_dense"]
    rows = direction_table(comparison, "chrf++").rows
    assert [row[0] for row in rows] == [str(direction) for direction in comparison.directions]


def test_the_summary_gives_each_group_and_the_gain_over_the_control(comparisons):
    comparison = comparisons["continue_dense"]
    table = summary_table(comparison, title="t")
    assert len(table.rows) == len(comparison.metrics) * len(comparison.groups)
    assert table.columns[-1] == "gain over Dense, continued"
    assert any("Smallest visible difference" in note for note in table.notes)


def test_scores_have_their_signatures_below(comparisons):
    comparison = comparisons["dense"]
    table = scores_table(comparison.systems, groups=comparison.groups)
    assert len(table.rows) == len(comparison.directions) + len(comparison.groups)
    assert any("nrefs:1" in note for note in table.notes)
    assert any("Smallest visible difference" in note for note in table.notes)
