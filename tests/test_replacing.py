from contextlib import suppress
from pathlib import Path

import pytest

from nsmt.files import remove_unfinished, replace_folder


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "a.b"
    place.mkdir()
    (place / "text").write_text("old")
    return place


def replace(folder, text="new"):
    with replace_folder(folder) as building:
        (building / "text").write_text(text)


def killed_at(monkeypatch, number, *, finally_too):
    """From the rename of this number on, none is done."""
    renames, rename = [], Path.rename

    def until(self, target):
        renames.append(self)
        if len(renames) == number or (finally_too and len(renames) > number):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", until)


def left(folder):
    return {path.name: (path / "text").read_text() for path in folder.parent.iterdir()}


@pytest.mark.parametrize("number", [1, 2])
def test_an_interrupted_replacement_leaves_what_was_there(folder, monkeypatch, number):
    killed_at(monkeypatch, number, finally_too=False)
    with pytest.raises(KeyboardInterrupt):
        replace(folder)
    assert left(folder) == {"a.b": "old"}


@pytest.mark.parametrize(("number", "expected"), [(1, "old"), (2, "old"), (3, "new")])
def test_whatever_rename_a_kill_prevents_there_is_one_whole_folder_after_cleaning(
    folder, monkeypatch, number, expected
):
    with monkeypatch.context() as patch:
        killed_at(patch, number, finally_too=True)
        with suppress(KeyboardInterrupt):
            replace(folder)
    remove_unfinished(folder.parent)
    assert left(folder) == {"a.b": expected}
    replace(folder, "newer")
    assert left(folder) == {"a.b": "newer"}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_folder_is_replaced_after_a_kill_of_a_process_of_the_same_number(
    folder, monkeypatch, number
):
    with monkeypatch.context() as patch:
        killed_at(patch, number, finally_too=True)
        with suppress(KeyboardInterrupt):
            replace(folder)
    replace(folder, "newer")
    assert left(folder) == {"a.b": "newer"}


def test_an_error_while_building_leaves_what_was_there(folder):
    with pytest.raises(ValueError, match="no"), replace_folder(folder):
        raise ValueError("no")
    assert left(folder) == {"a.b": "old"}
