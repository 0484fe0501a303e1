"""Inputs are told by their content, and large ones are not read anew each time."""

import json
import os
from pathlib import Path

import pytest

from nsmt.data.sources import contents
from nsmt.data.sources.contents import content_hashes
from nsmt.errors import DataError
from nsmt.files import sha256


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("one")
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was read so far; files count as old enough to be remembered."""
    monkeypatch.setattr(contents, "_RACY_NS", -(10**18))
    found: list[Path] = []
    monkeypatch.setattr(contents, "sha256", lambda path: found.append(path) or sha256(path))
    return found


def test_an_unchanged_file_is_read_once(text, hashed, tmp_path):
    first = content_hashes([text], cache=tmp_path / "cache")
    assert content_hashes([text], cache=tmp_path / "cache") == first == {text: sha256(text)}
    assert hashed == [text]
    content_hashes([text])
    assert hashed == [text, text]


def test_changed_bytes_are_read_although_size_and_mtime_are_set_back(text, hashed, tmp_path):
    before = text.stat().st_mtime_ns
    first = content_hashes([text], cache=tmp_path)
    text.write_text("two")
    os.utime(text, ns=(before, before))
    assert content_hashes([text], cache=tmp_path) == {text: sha256(text)} != first


def test_what_was_written_just_now_is_not_remembered(text, tmp_path):
    content_hashes([text], cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_paths_are_remembered_whatever_the_folder_one_is_in(text, hashed, tmp_path, monkeypatch):
    content_hashes([text], cache=tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    content_hashes([Path("text")], cache=tmp_path / "cache")
    assert hashed == [text]


@pytest.mark.parametrize("damage", ["", "[]", '{"/text": [1]}', "\xff"])
def test_a_damaged_memory_only_costs_time(text, hashed, tmp_path, damage):
    (tmp_path / "hashes.json").write_text(damage, encoding="latin-1")
    assert content_hashes([text], cache=tmp_path) == {text: sha256(text)}
    assert list(json.loads((tmp_path / "hashes.json").read_text())) == [str(text)]


def test_a_file_that_changes_while_it_is_read_is_told(text, tmp_path, monkeypatch):
    def written_meanwhile(path: Path) -> str:
        path.write_text("longer than before")
        return "0"

    monkeypatch.setattr(contents, "sha256", written_meanwhile)
    with pytest.raises(DataError, match="changed while it was read"):
        content_hashes([text], cache=tmp_path)
