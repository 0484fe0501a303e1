"""A corpus that was prepared elsewhere, named by `data.prepared`."""

import shutil
from pathlib import Path

import pytest

from nsmt.data import prepare as preparation
from nsmt.data.settings import CleaningSettings, VocabularySettings
from nsmt.data.sources.files import FilesSettings
from nsmt.errors import DataError
from nsmt.languages import Direction


@pytest.fixture
def own_files(tmp_path) -> FilesSettings:
    root = tmp_path / "files"
    root.mkdir()
    for code in ("en", "de"):
        text = "".join(f"{code} says number {number} here\n" for number in range(200))
        (root / f"train.en-de.{code}").write_text(text, "utf-8")
    return FilesSettings(
        source="files",
        root=str(root),
        pairs=("en-de",),
        vocabulary=VocabularySettings(size=64),
        workers=1,
    )


@pytest.fixture
def moved(run, own_files, tmp_path) -> Path:
    """A corpus that lies elsewhere now; its inputs are gone."""
    folder = Path(shutil.move(run(own_files).folder, tmp_path / "from another machine"))
    shutil.rmtree(own_files.root)
    return folder


def test_it_is_used_where_inputs_are_gone_and_libraries_are_others(
    run, own_files, moved, tmp_path, monkeypatch
):
    monkeypatch.setattr(preparation, "version", lambda _: "9")
    corpus = run(own_files.model_copy(update={"prepared": str(moved)}))
    assert corpus.folder == moved
    assert len(corpus.table(Direction("de", "en"), "train")) > 0
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == [".lock"]


def test_it_is_the_same_corpus_to_a_run(run, own_files, moved):
    given = own_files.model_copy(update={"prepared": str(moved), "temperature": 1.0, "workers": 3})
    assert given.identity() == own_files.identity()
    assert run(given).folder == moved


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"cleaning": CleaningSettings(min_words=2)}, "data.cleaning"),
        ({"directions": ("en-de",)}, "data.directions"),
        ({"max_train": {"en-de": 1}}, "data.max_train"),
    ],
)
def test_other_settings_than_it_was_prepared_with_are_refused(run, own_files, moved, changed, key):
    with pytest.raises(DataError, match=f"other settings: {key}\n"):
        run(own_files.model_copy(update={"prepared": str(moved)} | changed))


def test_another_vocabulary_than_its_own_is_refused(run, synthetic, own_files, moved, tmp_path):
    run(synthetic).vocabulary.save(tmp_path / "other.model")
    vocabulary = own_files.vocabulary.model_copy(update={"model": str(tmp_path / "other.model")})
    with pytest.raises(DataError, match=r"other settings: data\.vocabulary\.model"):
        run(own_files.model_copy(update={"prepared": str(moved), "vocabulary": vocabulary}))


def test_a_given_vocabulary_is_told_by_its_content(run, own_files, tmp_path):
    run(own_files).vocabulary.save(tmp_path / "a.model")
    given = own_files.model_copy(
        update={"vocabulary": VocabularySettings(model=str(tmp_path / "a.model"))}
    )
    folder = run(given).folder
    assert run(given.model_copy(update={"prepared": str(folder)})).folder == folder


def test_what_is_no_corpus_is_refused(run, own_files, tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        run(own_files.model_copy(update={"prepared": str(tmp_path / "nowhere")}))
