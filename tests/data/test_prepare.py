import errno
import io
import json
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import pytest
from rich.console import Console

from nsmt.data import blocks
from nsmt.data import prepare as preparation
from nsmt.data.corpus import Corpus
from nsmt.data.settings import (
    CleaningSettings,
    SplitSettings,
    VocabularySettings,
)
from nsmt.data.sources.bible8 import Bible8Settings
from nsmt.data.sources.files import FilesSettings, FilesSource
from nsmt.data.tally import report_table
from nsmt.data.text import recognition_key
from nsmt.errors import ConfigurationError, DataError
from nsmt.languages import Direction


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def visible(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*") if not path.name.startswith(".")]


def lines(root: Path, split: str, pair: str, *columns: list[str]) -> None:
    for code, texts in zip(pair.split("-"), columns, strict=True):
        (root / f"{split}.{pair}.{code}").write_text("".join(f"{t}\n" for t in texts), "utf-8")


def sentences(language: str, numbers: range) -> list[str]:
    return [f"{language} says number {number} here" for number in numbers]


def test_preparing_twice_does_nothing_the_second_time(run, synthetic, monkeypatch):
    first = run(synthetic)
    stamps = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    monkeypatch.setattr(preparation, "_prepare_into", None)
    second = run(synthetic)
    assert second.folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in second.folder.iterdir()} == stamps


def test_equal_settings_give_equal_bytes(synthetic, tmp_path):
    folders = [
        preparation.prepare(
            synthetic, corpora=tmp_path / place, downloads=tmp_path, progress=False
        ).folder
        for place in ("a", "b")
    ]
    assert folders[0].name == folders[1].name
    assert contents(folders[0]) == contents(folders[1])


def test_other_settings_give_another_folder_but_sampling_does_not(run, synthetic):
    first = run(synthetic)
    assert run(synthetic.model_copy(update={"seed": 1})).folder != first.folder
    assert run(synthetic.model_copy(update={"temperature": 1.0})).folder == first.folder


def test_another_version_of_a_text_library_gives_another_folder(run, synthetic, monkeypatch):
    first = run(synthetic).folder
    monkeypatch.setattr(
        preparation, "version", lambda name: "9" if name == "sacremoses" else version(name)
    )
    assert run(synthetic).folder != first


@pytest.mark.parametrize("stage", ["make_vocabulary", "encode_pairs", "_write_json"])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError])
def test_an_interrupted_preparation_leaves_no_corpus_and_the_next_one_goes_on(
    run, synthetic, monkeypatch, tmp_path, stage, failure
):
    def fail(*_: object, **__: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(preparation, stage, fail)
        with pytest.raises(failure):
            run(synthetic)
    assert visible(tmp_path / "corpora") == []
    monkeypatch.setattr(blocks, "clean_block", fail)
    corpus = run(synthetic)
    assert len(corpus.table(Direction("de", "en"), "train")) > 100
    hidden = {path.name for path in (tmp_path / "corpora").iterdir()} - {corpus.folder.name}
    assert hidden == {".lock"}


def test_what_a_killed_preparation_left_is_swept_up(run, synthetic, tmp_path):
    source = preparation.make_source(synthetic)
    name = preparation.folder_name(synthetic, source)
    leftover = tmp_path / "corpora" / f".{name}.123.partial"
    leftover.mkdir(parents=True)
    (leftover / "corpus.json").write_text("{}")
    run(synthetic)
    assert visible(tmp_path / "corpora") == [name]


def test_split_is_the_same_over_pairs_and_train_is_free_of_it(run, synthetic):
    corpus = run(synthetic)
    pairs = [pair for pair in corpus.pairs if "en" in (pair.source, pair.target)]
    held = {
        split: [set(map(recognition_key, corpus.texts(pair, split)[0])) for pair in pairs]
        for split in ("valid", "test")
    }
    assert held["test"][0] == held["test"][1]
    assert held["valid"][0] == held["valid"][1]
    everything = set(chain(*held["valid"], *held["test"]))
    for pair in pairs:
        table = corpus.table(pair, "train")
        pieces = [table.source(row) for row in range(len(table))]
        trained = set(map(recognition_key, corpus.vocabulary.decode(pieces)))
        assert trained
        assert not trained & everything


def test_every_pair_of_sentences_is_accounted_for(run, synthetic):
    corpus = run(synthetic)
    report = json.loads((corpus.folder / "preparation.json").read_text("utf-8"))
    for pair, splits in report["pairs"].items():
        assert sum(entry["read"] for entry in splits.values()) == 400
        for split, entry in splits.items():
            assert entry["read"] == entry["kept"] + sum(entry["dropped"].values())
            assert entry["kept"] == len(corpus.table(Direction.parse(pair), split))
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(report_table(corpus.report))
    assert "held_out" in console.export_text()


def test_surplus_of_valid_and_test_is_dropped_not_trained_on(run, synthetic):
    split = SplitSettings(valid=0.2, test=0.2, max_valid=5, max_test=7)
    corpus = run(synthetic.model_copy(update={"split": split}))
    full = run(synthetic.model_copy(update={"split": SplitSettings(valid=0.2, test=0.2)}))
    pair = Direction("en", "de")
    assert len(corpus.table(pair, "valid")) == 5
    assert len(corpus.table(pair, "test")) == 7
    assert corpus.report["pairs"]["en-de"]["test"]["dropped"]["held_out_surplus"] > 20
    assert len(corpus.table(pair, "train")) == len(full.table(pair, "train"))
    assert corpus.texts(pair, "test")[0] == corpus.texts(Direction("en", "fr"), "test")[0]


@pytest.fixture
def own_files(tmp_path):
    root = tmp_path / "files"
    root.mkdir()
    numbers = range(40)
    train = sentences("english", numbers)
    lines(root, "train", "en-de", train, sentences("deutsch", numbers))
    lines(root, "train", "fr-en", sentences("francais", numbers), train)
    lines(root, "test", "en-de", [" English says number 3  here!"], ["etwas  ganz anderes"])
    lines(root, "valid", "en-de", ["", "english says number 5 here"], ["x", "y"])
    return FilesSettings(
        source="files",
        root=str(root),
        pairs=("en-de", "fr-en"),
        split=SplitSettings(valid=0.1, test=0.1),
        vocabulary=VocabularySettings(size=64),
    )


def test_given_test_text_is_kept_as_it_is_and_out_of_every_train(run, own_files):
    corpus = run(own_files)
    assert corpus.texts(Direction("en", "de"), "test") == (
        [" English says number 3  here!"],
        ["etwas  ganz anderes"],
    )
    counts = corpus.report["pairs"]
    assert counts["en-de"]["train"]["dropped"]["held_out"] >= 2
    assert counts["en-de"]["valid"]["dropped"] == {"empty": 1}
    assert counts["fr-en"]["train"]["read"] < 40
    for pair in corpus.pairs:
        table = corpus.table(Direction("en", pair.other("en")), "train")
        pieces = [table.source(row) for row in range(len(table))]
        trained = corpus.vocabulary.decode(pieces)
        assert trained
        assert not {"english says number 3 here", "english says number 5 here"} & set(trained)


def test_a_sentence_is_in_one_split_also_where_only_some_pairs_are_given_a_test_set(run, own_files):
    root, numbers = Path(own_files.root), range(400)
    english = sentences("english", numbers)
    lines(root, "train", "en-de", english, sentences("deutsch", numbers))
    lines(root, "train", "fr-en", sentences("francais", numbers), english)
    (root / "valid.en-de.en").unlink()
    (root / "valid.en-de.de").unlink()
    corpus = run(own_files)
    english_of = {
        (pair, split): set(corpus.texts(Direction("en", pair.other("en")), split)[0])
        for pair in corpus.pairs
        for split in ("valid", "test")
    }
    de, fr = corpus.pairs
    assert english_of[de, "valid"] & english_of[fr, "valid"]
    assert not english_of[de, "valid"] & english_of[fr, "test"]


def test_training_text_is_normalised_whatever_the_order_of_the_steps(run, own_files):
    root, numbers = Path(own_files.root), range(40)
    # A space of no width keeps the accent apart from its letter until it is removed.
    broken = [f"caf\u0065\u200b\u0301 {line}" for line in sentences("english", numbers)]
    lines(root, "train", "en-de", broken, sentences("deutsch", numbers))
    corpus = run(own_files)
    table = corpus.table(Direction("en", "de"), "train")
    unknown = corpus.vocabulary.processor.unk_id()
    assert not any(unknown in table.source(row).tolist() for row in range(len(table)))


def test_a_vocabulary_is_told_by_its_content(run, own_files, tmp_path):
    first = run(own_files)
    copies = [tmp_path / name for name in ("a.model", "b.model")]
    for copy in copies:
        first.vocabulary.save(copy)
    given = [VocabularySettings(model=str(copy)) for copy in copies]
    folders = {run(own_files.model_copy(update={"vocabulary": each})).folder for each in given}
    assert len(folders) == 1


def test_what_a_cleaning_step_lacks_is_told_before_text_is_fetched(run, own_files, monkeypatch):
    settings = own_files.model_copy(update={"cleaning": CleaningSettings(steps=("script",))})
    unknown = settings.model_copy(update={"pairs": ("en-xx",)})
    monkeypatch.setattr(FilesSource, "fetch", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(ConfigurationError, match="xx"):
        run(unknown)


@pytest.mark.parametrize("moment", ["settle", "fetch"])
def test_a_full_disk_of_downloads_is_told(run, own_files, monkeypatch, moment):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FilesSource, moment, full)
    with pytest.raises(DataError, match=r"no space left(.|\n)*paths.downloads"):
        run(own_files)


def test_work_that_outlived_its_corpus_is_swept_up(run, own_files):
    corpus = run(own_files)
    leftover = corpus.folder.with_name(f".{corpus.folder.name}.work")
    leftover.mkdir()
    run(own_files)
    assert not leftover.exists()


def test_changed_input_is_another_corpus(run, own_files):
    first = run(own_files)
    lines(Path(own_files.root), "test", "en-de", ["another one here"], ["ein anderer hier"])
    assert run(own_files).folder != first.folder


def test_faulty_input_is_told_before_anything_is_written(run, own_files, tmp_path):
    (Path(own_files.root) / "train.fr-en.fr").write_bytes(b"one\n")
    with pytest.raises(DataError, match="line 2 of"):
        run(own_files)
    assert visible(tmp_path / "corpora") == []


def test_too_many_tokens_are_dropped_and_counted(run, synthetic):
    corpus = run(synthetic.model_copy(update={"cleaning": CleaningSettings(max_tokens=14)}))
    table = corpus.table(Direction("en", "de"), "train")
    assert max(table.source_lengths.max(), table.target_lengths.max()) <= 14
    assert corpus.report["pairs"]["en-de"]["train"]["dropped"]["too_many_tokens"] > 0


def test_no_sentence_of_a_given_test_set_is_too_long(run, own_files):
    long = " ".join(["a long sentence"] * 30)
    lines(Path(own_files.root), "test", "en-de", ["a short one", long], ["ein kurzer", long + " x"])
    corpus = run(own_files.model_copy(update={"cleaning": CleaningSettings(max_tokens=14)}))
    table = corpus.table(Direction("en", "de"), "test")
    assert len(table) == 2
    assert table.source_lengths.max() > 14
    assert corpus.table(Direction("en", "de"), "train").source_lengths.max() <= 14


def test_an_empty_corpus_names_the_pair_and_the_reasons(run, synthetic, tmp_path):
    cleaning = CleaningSettings(max_words=1)
    with pytest.raises(DataError, match=r"'en-de' is left; dropped: too_many_words \d+"):
        run(synthetic.model_copy(update={"cleaning": cleaning}))
    assert visible(tmp_path / "corpora") == []


def test_bible_is_prepared_from_a_local_database(run, bible_database):
    settings = Bible8Settings(
        source="bible8",
        pairs=("en-de", "en-hi"),
        archive=str(bible_database),
        split=SplitSettings(valid=0.1, test=0.1),
        vocabulary=VocabularySettings(size=48),
    )
    corpus = run(settings)
    assert isinstance(corpus, Corpus)
    assert corpus.report["inputs"]["database"]
    kept = [entry["kept"] for entry in corpus.report["pairs"]["en-hi"].values()]
    assert sum(kept) == 59


def test_progress_shows_licences_and_counts(synthetic, tmp_path, capsys):
    preparation.prepare(synthetic, corpora=tmp_path / "c", downloads=tmp_path)
    shown = capsys.readouterr().err
    assert "public domain" in shown
    assert "corpus synthetic" in shown
