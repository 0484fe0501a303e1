"""A corpus that was prepared elsewhere, named by `data.prepared`."""

import json
import shutil
from pathlib import Path

import pytest

from nsmt.data import prepare as preparation
from nsmt.data.corpus import REPORT
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
    ("changed", "said"),
    [
        ({"cleaning": CleaningSettings(min_words=2)}, r"data.cleaning.min_words: 1 there, 2 here"),
        ({"directions": ("en-de",)}, r"data.directions: None there, \['en-de'\] here"),
        ({"max_train": {"en-de": 1}}, r"data.max_train.en-de: nothing there, 1 here"),
    ],
)
def test_other_settings_than_it_was_prepared_with_are_refused(run, own_files, moved, changed, said):
    with pytest.raises(DataError, match=f"other settings:\n  - {said}\n  fix"):
        run(own_files.model_copy(update={"prepared": str(moved)} | changed))


def test_another_vocabulary_than_its_own_is_refused(run, synthetic, own_files, moved, tmp_path):
    run(synthetic).vocabulary.save(tmp_path / "other.model")
    vocabulary = own_files.vocabulary.model_copy(update={"model": str(tmp_path / "other.model")})
    with pytest.raises(DataError, match=r"data\.vocabulary\.model: trained there"):
        run(own_files.model_copy(update={"prepared": str(moved), "vocabulary": vocabulary}))


def test_a_given_vocabulary_is_told_by_its_content_and_is_no_trained_one(run, own_files, tmp_path):
    trained = run(own_files).vocabulary
    for name in ("a.model", "b.model"):
        trained.save(tmp_path / name)
    one, same, none = (
        own_files.model_copy(update={"vocabulary": own_files.vocabulary.model_copy(update=model)})
        for model in (
            {"model": str(tmp_path / "a.model")},
            {"model": str(tmp_path / "b.model")},
            {"model": None},
        )
    )
    prepared = {"prepared": str(run(one).folder)}
    assert str(run(same.model_copy(update=prepared)).folder) == prepared["prepared"]
    with pytest.raises(DataError, match=r"data\.vocabulary\.model: \w+ there, trained here"):
        run(none.model_copy(update=prepared))


def test_a_corpus_from_before_that_was_written_down_has_a_trained_vocabulary(run, own_files, moved):
    report = json.loads((moved / REPORT).read_text("utf-8"))
    del report["vocabulary"]["given"]
    text = json.dumps(report)
    # As large as the manifest says.
    (moved / REPORT).write_text(text.ljust((moved / REPORT).stat().st_size), "utf-8")
    assert run(own_files.model_copy(update={"prepared": str(moved)})).folder == moved


def test_what_is_no_whole_corpus_is_refused(run, own_files, moved, tmp_path):
    with pytest.raises(DataError, match=r"data\.prepared: .*nowhere(.|\n)*copy the whole"):
        run(own_files.model_copy(update={"prepared": str(tmp_path / "nowhere")}))
    next(moved.glob("train.*.ids.npy")).unlink()
    with pytest.raises(DataError, match=r"data\.prepared: .*incomplete(.|\n)*copy the whole"):
        run(own_files.model_copy(update={"prepared": str(moved)}))


def test_a_folder_of_home_is_found(run, own_files, moved, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(own_files.model_copy(update={"prepared": f"~/{moved.name}"})).folder == moved
