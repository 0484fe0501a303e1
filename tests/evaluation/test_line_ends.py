"""Every file of lines that is read back ends them at LF alone, and a CR before it goes."""

import numpy as np
import pytest

from nsmt.commands import report
from nsmt.commands.language_steps import fallback
from nsmt.commands.translations import kept_outputs, write_outputs
from nsmt.errors import DataError
from nsmt.evaluation.language_models import tasks
from nsmt.evaluation.published import read_published
from nsmt.evaluation.results import TestOutput
from nsmt.languages import Direction
from nsmt.steering.generation import GenerationSettings

# Python's splitlines() ends lines at three of these, and reading as text at the last.
LINES = ["what\u2028is\x85a\x0bline\rend ?", "two"]
DIRECTION = Direction("en", "de")


def published(path):
    found = read_published(path.parent.parent)
    assert found["a"][DIRECTION].references == LINES
    return found["a"][DIRECTION].hypotheses


def asked(path):
    settings = fallback.FallbackSettings(questions=str(path), generation=GenerationSettings())
    return fallback._questions(settings)


@pytest.mark.parametrize("read", [published, asked, report._lines, tasks._lines])
@pytest.mark.parametrize("text", ["{}\n{}\n", "{}\n{}", "{}\r\n{}\r\n"])
def test_other_characters_end_no_line(tmp_path, read, text):
    folder = tmp_path / "en-de"
    folder.mkdir()
    for name in ("hyp.a.txt", "ref.txt"):
        (folder / name).write_text(text.format(*LINES), newline="")
    assert read(folder / "hyp.a.txt") == LINES


def test_translations_are_read_as_they_were_written(tmp_path):
    output = TestOutput(LINES, ["a", "b"], np.ones(2), np.ones(2, np.int64))
    write_outputs(tmp_path, "dense", {DIRECTION: LINES}, {DIRECTION: output}, made_by={"by": 1})
    found = kept_outputs(tmp_path, "dense", lambda _: ["a", "b"], made_by={"by": 1})
    assert found[DIRECTION].hypotheses == LINES


def test_a_mark_of_the_byte_order_is_no_part_of_a_question(tmp_path):
    (tmp_path / "asked").write_text("Who?\nWhy?\n", encoding="utf-8-sig")
    assert asked(tmp_path / "asked") == ["Who?", "Why?"]


@pytest.mark.parametrize(
    ("read", "key"), [(asked, "fallback.questions"), (tasks._lines, "tasks.folder")]
)
def test_a_file_that_is_no_text_is_told_with_its_setting(tmp_path, read, key):
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for path in (tmp_path / "latin", tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match=f"{path}") as told:
            read(path)
        assert key in told.value.fix
