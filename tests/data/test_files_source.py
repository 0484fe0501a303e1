import bz2
import gzip
import hashlib
import lzma
import os
from pathlib import Path

import pytest
import zstandard
from pydantic import ValidationError

from nsmt.data.sources import lines
from nsmt.data.sources.files import FilesSettings, FilesSource
from nsmt.errors import DataError
from nsmt.languages import Direction

EN_DE = Direction("en", "de")
OPUS = "*.{src}-{tgt}.{lang}"
ROWS = [("c", "C"), ("t", "T")]
COMPRESSORS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}


def source(root: Path, **options: object) -> FilesSource:
    named = {"source": "files", "root": str(root), "pairs": ("en-de",), "pattern": OPUS}
    return FilesSource(FilesSettings(**{**named, **options}))


def read(chosen: FilesSource, pair: Direction = EN_DE, split: str = "train"):
    chosen.fetch(Path("unused"), progress=False)
    return list(chosen.read(pair, split))


def write(root: Path, **sides: str) -> None:
    """Files of the pair en-de, as in `CCAligned_en="a"`."""
    for name, text in sides.items():
        corpus, language = name.split("_")
        (root / f"{corpus}.en-de.{language}").write_text(f"{text}\n")


def test_corpora_of_a_pair_are_read_in_the_order_of_their_names(tmp_path):
    write(tmp_path, Tatoeba_en="t", Tatoeba_de="T", CCAligned_en="c", CCAligned_de="C")
    chosen = source(tmp_path)
    assert read(chosen) == ROWS
    assert chosen.splits(EN_DE) == ("train",)
    # By content, in the order of reading.
    hashes = [[hashlib.sha256(f"{text}\n".encode()).hexdigest() for text in row] for row in ROWS]
    assert chosen.identity() == {"en-de train": hashes}


def test_a_pair_may_be_named_either_way_round_corpus_by_corpus(tmp_path):
    write(tmp_path, B_en="b", B_de="B")
    for language, text in (("en", "a"), ("de", "A")):
        (tmp_path / f"A.de-en.{language}.gz").write_bytes(gzip.compress(text.encode()))
    assert read(source(tmp_path)) == [("a", "A"), ("b", "B")]
    reverse = source(tmp_path, pairs=("de-en",))
    assert read(reverse, EN_DE.reverse) == [("A", "a"), ("B", "b")]


@pytest.mark.parametrize("pattern", [OPUS, "A.{src}-{tgt}.{lang}"])
def test_a_corpus_that_is_there_both_ways_round_is_ambiguous(tmp_path, pattern):
    write(tmp_path, A_en="a", A_de="A")
    (tmp_path / "A.de-en.en").write_text("other\n")
    (tmp_path / "A.de-en.de").write_text("other\n")
    with pytest.raises(DataError, match=r"A\.en-de\.en and .*A\.de-en\.en are both there"):
        source(tmp_path, pattern=pattern)


def test_columns_that_are_there_both_ways_round_are_ambiguous(tmp_path):
    for name in ("en-de", "de-en"):
        (tmp_path / f"{name}.tsv").write_text("a\tA\n")
    with pytest.raises(DataError, match=r"en-de\.tsv and .*de-en\.tsv are both there"):
        source(tmp_path, format="tsv", pattern="{src}-{tgt}.tsv")


@pytest.mark.parametrize("pattern", [OPUS, "A.{src}-{tgt}.{lang}"])
def test_a_file_that_is_there_plain_and_compressed_is_ambiguous(tmp_path, pattern):
    write(tmp_path, A_en="a", A_de="A")
    (tmp_path / "A.en-de.de.gz").write_bytes(gzip.compress(b"A\n"))
    with pytest.raises(DataError, match=r"A\.en-de\.de and .*A\.en-de\.de\.gz are both there"):
        source(tmp_path, pattern=pattern)


def test_a_pattern_that_does_not_name_the_pair_is_not_ambiguous(tmp_path):
    (tmp_path / "train.en").write_text("a\n")
    (tmp_path / "train.de").write_text("A\n")
    assert read(source(tmp_path, pattern="{split}.{lang}")) == [("a", "A")]


def test_the_same_bytes_elsewhere_or_touched_are_the_same_input(tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, A_en="a", A_de="A")
    found = [source(tmp_path / folder) for folder in ("here", "there")]
    os.utime(tmp_path / "there" / "A.en-de.de", ns=(1, 1))
    for chosen in found:
        chosen.settle(tmp_path / "cache", progress=False)
    assert found[0].identity() == found[1].identity()
    write(tmp_path / "there", A_de="B")
    os.utime(tmp_path / "there" / "A.en-de.de", ns=(1, 1))
    changed = source(tmp_path / "there")
    changed.settle(tmp_path / "cache", progress=False)
    assert changed.identity() != found[0].identity()


def test_columns_in_another_order_are_another_input(tmp_path):
    (tmp_path / "en-de.tsv").write_text("a\tA\n")
    before = source(tmp_path, format="tsv", pattern="{src}-{tgt}.tsv").identity()
    (tmp_path / "en-de.tsv").rename(tmp_path / "de-en.tsv")
    assert source(tmp_path, format="tsv", pattern="{src}-{tgt}.tsv").identity() != before


def test_corpora_are_found_in_sub_folders(tmp_path):
    for folder in ("en-de", "en-fr"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "en-de", A_en="a", A_de="A", **{"B[1]_en": "b", "B[1]_de": "B"})
    (tmp_path / "en-fr" / "A.en-fr.en").write_text("alone\n")
    chosen = source(tmp_path, pattern="{src}-{tgt}/*.{src}-{tgt}.{lang}")
    assert read(chosen) == [("a", "A"), ("b", "B")]


@pytest.mark.parametrize("side", ["en", "de"])
def test_a_corpus_without_its_other_side_is_named(tmp_path, side):
    write(tmp_path, A_en="a", A_de="A", **{f"B_{side}": "b"})
    other = {"en": "de", "de": "en"}[side]
    with pytest.raises(DataError, match=rf"B.en-de.{side} is there, B.en-de.{other} is missing"):
        source(tmp_path)


def test_hidden_files_are_not_taken_for_corpora(tmp_path):
    write(tmp_path, A_en="a", A_de="A", **{".B.partial_en": "b"})
    assert read(source(tmp_path)) == [("a", "A")]


def test_brackets_in_a_pattern_mean_themselves(tmp_path):
    write(tmp_path, **{"[x]A_en": "a", "[x]A_de": "A", "xB_en": "b", "xB_de": "B"})
    assert read(source(tmp_path, pattern="[x]*.{src}-{tgt}.{lang}")) == [("a", "A")]


def test_columns_of_several_corpora_are_joined(tmp_path):
    (tmp_path / "b.en-de.tsv").write_text("b\tB\n")
    (tmp_path / "a.de-en.tsv").write_text("A\ta\n")
    chosen = source(tmp_path, format="tsv", pattern="*.{src}-{tgt}.tsv")
    assert read(chosen) == [("a", "A"), ("b", "B")]


def test_unequal_counts_name_the_corpus_and_the_line(tmp_path):
    write(tmp_path, A_en="a", A_de="A", B_en="b\nb", B_de="B")
    with pytest.raises(DataError, match=r"line 2 of .*B.en-de.en has no counterpart: .*B.en-de.de"):
        source(tmp_path).fetch(tmp_path, progress=False)


def test_invalid_utf8_names_file_line_and_byte(tmp_path):
    write(tmp_path, A_en="a\nb", A_de="A\nB")
    (tmp_path / "A.en-de.de").write_bytes("ä\nö".encode() + b"\xc3\n")
    with pytest.raises(DataError, match=r"A.en-de.de, line 2: byte 3 of the line"):
        source(tmp_path).fetch(tmp_path, progress=False)


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("lost", [1, 40])
def test_a_truncated_file_is_told_whatever_its_compression(tmp_path, suffix, lost):
    text = "".join(f"sentence number {n}\n" for n in range(999))
    write(tmp_path, A_en=text.removesuffix("\n"))
    whole = COMPRESSORS[suffix](text.encode())
    path = tmp_path / f"A.en-de.de{suffix}"
    path.write_bytes(whole)
    assert len(read(source(tmp_path))) == 999
    path.write_bytes(whole[:-lost])
    with pytest.raises(DataError, match=rf"A.en-de.de{suffix} cannot be read after line \d+"):
        source(tmp_path).fetch(tmp_path, progress=False)


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_a_damaged_file_is_told_whatever_its_compression(tmp_path, suffix):
    text = "".join(f"sentence number {n * n}\n" for n in range(999))
    write(tmp_path, A_en=text.removesuffix("\n"))
    damaged = bytearray(COMPRESSORS[suffix](text.encode()))
    middle = len(damaged) // 2
    damaged[middle : middle + 20] = bytes(20)
    (tmp_path / f"A.en-de.de{suffix}").write_bytes(damaged)
    with pytest.raises(DataError, match=r"A\.en-de\.de"):
        source(tmp_path).fetch(tmp_path, progress=False)


def test_frames_of_zstandard_are_joined_wherever_lines_end(tmp_path):
    write(tmp_path, A_en="one\ntwo\nthree")
    frames = [zstandard.compress(part) for part in (b"eins\nzw", b"ei\n", b"", b"drei\n")]
    (tmp_path / "A.en-de.de.zst").write_bytes(b"".join(frames))
    assert [target for _, target in read(source(tmp_path))] == ["eins", "zwei", "drei"]
    (tmp_path / "A.en-de.de.zst").write_bytes(b"".join(frames)[:-1])
    with pytest.raises(DataError, match="within a frame"):
        source(tmp_path).fetch(tmp_path, progress=False)


def test_a_line_of_a_hundred_thousand_characters_is_read(tmp_path):
    write(tmp_path, A_en="x" * 100_000, A_de="A")
    assert read(source(tmp_path)) == [("x" * 100_000, "A")]


@pytest.mark.parametrize("suffix", ["", ".zst"])
def test_a_line_without_end_is_refused_with_its_number(tmp_path, suffix):
    write(tmp_path, A_en="a\nb")
    text = b"A\n" + b"x" * (lines.LONGEST_LINE + 1)
    data = COMPRESSORS[suffix](text) if suffix else text
    (tmp_path / f"A.en-de.de{suffix}").write_bytes(data)
    with pytest.raises(DataError, match=r"A.en-de.de.*, line 2 has more than 10,000,000 bytes"):
        source(tmp_path).fetch(tmp_path, progress=False)


def test_a_pair_that_is_not_trained_needs_no_files_if_a_set_evaluates_it(tmp_path):
    write(tmp_path, A_en="a", A_de="A")
    settings = FilesSettings(
        source="files",
        root=str(tmp_path),
        pattern=OPUS,
        pairs=("en-de", "de-fr"),
        directions=("en-de",),
    )
    with pytest.raises(DataError, match="no training text of 'de-fr'"):
        FilesSource(settings)
    chosen = FilesSource(settings, evaluated={Direction("de", "fr")})
    assert chosen.splits(Direction("de", "fr")) == ()


@pytest.mark.parametrize(
    "options",
    [
        {"pattern": "**/{lang}"},
        {"pattern": "{lang}.*"},
        {"pattern": "*/../{lang}"},
        {"pattern": "*.{src}-{tgt}"},
        {"pattern": "*.{corpus}.{lang}"},
        {"pairs": ("en-d/e",)},
        {"pairs": ("en-../de",)},
    ],
)
def test_patterns_and_codes_that_leave_the_folder_are_refused(tmp_path, options):
    with pytest.raises(ValidationError):
        source(tmp_path, **options)
