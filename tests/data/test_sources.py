import bz2
import gzip
import lzma
from pathlib import Path

import pytest
import zstandard
from pydantic import TypeAdapter, ValidationError

from nsmt.data.sources import DataSettings, bible8, make_source
from nsmt.data.sources.bible8 import Bible8Settings, strip_markup
from nsmt.data.sources.files import FilesSettings
from nsmt.data.sources.synthetic import SyntheticSettings
from nsmt.errors import ConfigurationError, DataError
from nsmt.languages import Direction

EN_DE = Direction("en", "de")
COMPRESSORS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    # Two frames, as parallel compressors write.
    ".zst": lambda data: b"".join(zstandard.compress(part) for part in (data[:9], data[9:])),
}


def files(root: Path, **options: object) -> FilesSettings:
    return FilesSettings(**{"source": "files", "root": str(root), "pairs": ("en-de",), **options})


def write(root: Path, **contents: bytes) -> None:
    for name, content in contents.items():
        split, pair, language = name.split("_")
        (root / f"{split}.{pair[:2]}-{pair[2:]}.{language}").write_bytes(content)


def read(settings: FilesSettings, split: str = "train") -> list[tuple[str, str]]:
    source = make_source(settings)
    source.fetch(Path("unused"), progress=False)
    return list(source.read(EN_DE, split))


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_line_files_are_read_whatever_their_compression(tmp_path, suffix):
    for code, text in (("en", "a dog\na\u2028cat\r\n"), ("de", "ein Hund\neine\x85Katze")):
        data = COMPRESSORS[suffix](text.encode())
        (tmp_path / f"train.en-de.{code}{suffix}").write_bytes(data)
    expected = [("a dog", "ein Hund"), ("a\u2028cat", "eine\x85Katze")]
    assert read(files(tmp_path)) == expected


def test_files_named_the_other_way_round_are_found(tmp_path):
    write(tmp_path, train_deen_en=b"a\n", train_deen_de=b"b\n")
    assert read(files(tmp_path)) == [("a", "b")]


def test_given_splits_are_those_of_which_files_are_there(tmp_path):
    write(tmp_path, train_ende_en=b"a\n", train_ende_de=b"b\n")
    write(tmp_path, test_ende_en=b"c\n", test_ende_de=b"d\n")
    source = make_source(files(tmp_path))
    assert source.splits(EN_DE) == ("train", "test")
    assert read(files(tmp_path), "test") == [("c", "d")]


@pytest.mark.parametrize("shorter", ["en", "de"])
def test_unequal_line_counts_name_the_first_line_alone(tmp_path, shorter):
    lengths = {"en": b"a\na\na\n", "de": b"b\nb\nb\n", shorter: b"c\nc\n"}
    write(tmp_path, train_ende_en=lengths["en"], train_ende_de=lengths["de"])
    longer = {"en": "de", "de": "en"}[shorter]
    with pytest.raises(DataError, match=rf"line 3 of .*train.en-de.{longer} has no counterpart"):
        read(files(tmp_path))


def test_invalid_utf8_names_file_line_and_byte(tmp_path):
    write(tmp_path, train_ende_en=b"a\nb\n", train_ende_de=b"a\nab\xff\n")
    with pytest.raises(DataError, match=r"train.en-de.de, line 2: byte 3"):
        read(files(tmp_path))


def test_a_truncated_file_is_told(tmp_path):
    write(tmp_path, train_ende_en=b"a\n" * 999)
    (tmp_path / "train.en-de.de.gz").write_bytes(gzip.compress(b"abc\n" * 999)[:-12])
    with pytest.raises(DataError, match="cannot be read"):
        read(files(tmp_path))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"train.en-de.de, train.en-de.en missing"):
        make_source(files(tmp_path))
    write(tmp_path, train_ende_en=b"a\n")
    with pytest.raises(DataError, match="one side only"):
        make_source(files(tmp_path))


def test_a_pair_without_training_text_serves_for_testing_alone(tmp_path):
    write(tmp_path, train_ende_en=b"a\n", train_ende_de=b"b\n")
    write(tmp_path, test_defr_de=b"b\n", test_defr_fr=b"c\n")
    pairs = ("en-de", "de-fr")
    with pytest.raises(DataError, match="no training text of 'de-fr'"):
        make_source(files(tmp_path, pairs=pairs))
    source = make_source(files(tmp_path, pairs=pairs, directions=("en-de", "de-en")))
    assert source.splits(Direction("de", "fr")) == ("test",)


def test_tsv_columns_are_taken_in_order_or_by_header(tmp_path):
    (tmp_path / "train.de-en.tsv").write_bytes(b"Hund\tdog\nKatze\tcat\n")
    pattern = "{split}.{src}-{tgt}.tsv"
    settings = files(tmp_path, format="tsv", pattern=pattern)
    assert read(settings) == [("dog", "Hund"), ("cat", "Katze")]
    (tmp_path / "all.tsv.xz").write_bytes(lzma.compress(b"fr\tde\ten\nchien\tHund\tdog\n"))
    settings = files(tmp_path, format="tsv", pattern="all.tsv", header=True)
    assert read(settings) == [("dog", "Hund")]
    assert make_source(settings).splits(EN_DE) == ("train",)


def test_tsv_lines_with_too_few_columns_are_named(tmp_path):
    (tmp_path / "all.tsv").write_bytes(b"en\tde\na\tb\nalone\n")
    with pytest.raises(DataError, match=r"all.tsv, line 3: 1 columns, 2 are needed"):
        read(files(tmp_path, format="tsv", pattern="all.tsv", header=True))
    (tmp_path / "all.tsv").write_bytes(b"en\tfr\na\tb\n")
    with pytest.raises(DataError, match="no column de"):
        read(files(tmp_path, format="tsv", pattern="all.tsv", header=True))


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": ("../x-de",)},
        {"pairs": ("en-de", "de-en")},
        {"pairs": ("xx-de",)},
        {"directions": ("en-fr",)},
        {"pattern": "../{lang}"},
        {"pattern": "/etc/{lang}"},
        {"pattern": "{lang.__class__}"},
        {"pattern": "{split}"},
        {"name": "../up"},
    ],
)
def test_names_that_leave_the_folder_or_the_catalogue_are_refused(tmp_path, options):
    with pytest.raises(ValidationError):
        files(tmp_path, **options)


def test_the_field_source_decides_the_schema_and_lists_stay_lists_in_json():
    text = '{"source": "synthetic", "pairs": ["en-de"], "sentences": 5}'
    settings = TypeAdapter(DataSettings).validate_json(text)
    assert isinstance(settings, SyntheticSettings)
    with pytest.raises(ValidationError, match="bible8"):
        TypeAdapter(DataSettings).validate_json('{"source": "web", "pairs": ["en-de"]}')


def test_synthetic_languages_of_one_family_share_words():
    settings = SyntheticSettings(
        source="synthetic", pairs=("en-de", "en-fr"), sentences=50, words=100
    )
    source = make_source(settings)
    english_german = list(source.read(EN_DE, "train"))
    assert english_german == list(source.read(EN_DE, "train"))
    french = [t for _, t in source.read(Direction("en", "fr"), "train")]
    assert [s for s, _ in source.read(Direction("en", "fr"), "train")] == [
        s for s, _ in english_german
    ]

    def stems(texts: list[str]) -> set[str]:
        return {word[:-2] for text in texts for word in text.strip(".").split()}

    english, german = (stems(list(side)) for side in zip(*english_german, strict=True))
    assert len(english & german) > 20 > len(english & stems(french))


def bible(**options: object) -> Bible8Settings:
    return Bible8Settings(**{"source": "bible8", "pairs": ("en-hi", "de-en"), **options})


def test_bible_verses_are_aligned_by_number_without_psalms(bible_database, tmp_path):
    source = make_source(bible(archive=str(bible_database)))
    source.fetch(tmp_path / "cache", progress=False)
    verses = list(source.read(Direction("en", "hi"), "train"))
    assert len(verses) == 59
    assert verses[1] == ("The light 2 gone.", "उजियाला 2 gone.")
    assert next(source.read(Direction("de", "en"), "train"))[0] == "Das Licht 1 gone."
    assert source.licences()["hi"] == "Indian Revised Version: CC BY-SA 4.0"


def test_bible_is_fetched_once(bible_database, tmp_path):
    make_source(bible(archive=str(bible_database))).fetch(tmp_path, progress=False)
    bible_database.unlink()
    again = make_source(bible(archive=str(bible_database)))
    again.fetch(tmp_path, progress=False)
    assert next(again.read(Direction("en", "hi"), "train"))


def test_another_database_is_refused_and_leaves_nothing(tmp_path):
    (tmp_path / "bible.db").write_bytes(b"something else")
    with pytest.raises(DataError, match="SHA-256"):
        make_source(bible(archive=str(tmp_path / "bible.db"))).fetch(
            tmp_path / "cache", progress=False
        )
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(DataError, match="does not exist"):
        make_source(bible(archive="nowhere.whl")).fetch(tmp_path / "cache", progress=False)


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(bible8, "REQUIREMENT", "no such requirement!")
    with pytest.raises(DataError, match=r"data\.archive"):
        make_source(bible()).fetch(tmp_path / "cache", progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_language_without_a_bible_is_answered_by_those_that_have_one():
    with pytest.raises(ConfigurationError, match="no text in nl"):
        make_source(bible(pairs=("en-nl",)))


@pytest.mark.parametrize(
    ("verse", "text"),
    [
        ("सृष्टि की। (इब्रा. 1:10, इब्रा. 11:3)", "सृष्टि की।"),
        ("विश्राम किया।* (इब्रा. 4:4)", "विश्राम किया।"),
        ("(7:26) L'Éternel dit", "L'Éternel dit"),
        ("(30-1) Môi-se nói", "Môi-se nói"),
        ("(9:14) (L'ancien, c'est la tête.)", "(L'ancien, c'est la tête.)"),
        ("Sie aber [sprachen]: Ja", "Sie aber sprachen: Ja"),
        ("EN el principio crió Dios", "En el principio crió Dios"),
        ("\t Y aconteció", "Y aconteció"),
        ("(Missing KJV: For the Son of man)", ""),
        ("[]", ""),
        ("***", ""),
        ("يقول فيه******فالآن", "يقول فيه فالآن"),
        ("“उजियाला हो*”", "“उजियाला हो”"),
        (". فاعطته بلهة", "فاعطته بلهة"),
        ("الايمان. ( [ (I Timothy 6:22) ) النعمة معك ]", "الايمان. النعمة معك"),
        ("¿Dónde está?", "¿Dónde está?"),
    ],
)
def test_markup_is_stripped_from_verses(verse, text):
    assert strip_markup(verse).split() == text.split()
