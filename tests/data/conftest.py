"""Small corpora for the tests of the data room."""

import hashlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from localization_archives import Archives

from nsmt.data import sources
from nsmt.data.corpus import Corpus
from nsmt.data.prepare import prepare
from nsmt.data.settings import (
    CleaningSettings,
    SplitSettings,
    VocabularySettings,
)
from nsmt.data.sources import DataSettings, clients
from nsmt.data.sources.synthetic import SyntheticSettings


@pytest.fixture
def synthetic() -> SyntheticSettings:
    return SyntheticSettings(
        source="synthetic",
        pairs=("en-de", "en-fr", "de-fr"),
        directions=("en-de", "de-en", "fr-en"),
        sentences=400,
        words=40,
        min_length=4,
        split=SplitSettings(valid=0.1, test=0.1),
        cleaning=CleaningSettings(),
        vocabulary=VocabularySettings(size=120),
        workers=1,
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[[DataSettings], Corpus]:
    def _run(settings: DataSettings) -> Corpus:
        return prepare(
            settings,
            corpora=tmp_path / "corpora",
            downloads=tmp_path / "downloads",
            progress=False,
        )

    return _run


@pytest.fixture
def bible_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database of the published schema with a few made-up verses, accepted by its hash."""
    path = tmp_path / "bible.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE bible (id INTEGER, bbName TEXT, bNumber INTEGER, cNumber INTEGER, "
            "vNumber INTEGER, vText TEXT)"
        )
        for book, chapter, verse in [(1, 1, v) for v in range(1, 60)] + [(19, 1, 1)]:
            for key, text in (("3", "The light"), ("i", "उजियाला*"), ("e", "Das [Licht]")):
                row = (0, key, book, chapter, verse, f"{text} {verse} gone. (इब्रा. 1:10)")
                connection.execute("INSERT INTO bible VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute("INSERT INTO bible VALUES (0, '3', 2, 1, 1, 'English alone')")
    connection.close()
    monkeypatch.setattr(sources.bible8, "DATABASE_SHA256", _sha256(path))
    return path


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> Archives:
    """Made-up package archives in place of those that the clients reach."""
    found = Archives()
    monkeypatch.setattr(clients, "run", found.run)
    return found


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
