import io
import json
import tarfile
from pathlib import Path

import pytest
import yaml

from nsmt.data.sources.iwslt14 import Iwslt14Settings, Iwslt14Source
from nsmt.errors import DataError
from nsmt.languages import Direction

CONF = Path(__file__).parents[2] / "conf" / "data" / "iwslt14.yaml"
DE_EN = Direction("de", "en")
PARTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
SENTENCES = 50


def members(pair: str = "de-en", *, numbers: range = range(SENTENCES)) -> dict[str, str]:
    """The texts of one pair as they are in an archive."""
    texts = {f"{pair}/README": "CC BY-NC-ND\n", f"{pair}/train.en": "English alone\n"}
    for code in pair.split("-"):
        lines = [
            "<url>http://example.org</url>",
            "<keywords>talks, more</keywords>",
            "<talkid>1</talkid>",
            f"<title>{code.upper()}: Title &amp; more</title>",
            "<description>About a talk.</description>",
            *(f" Sentence {code} {n}, isn't it? " for n in numbers),
        ]
        texts[f"{pair}/train.tags.{pair}.{code}"] = "\n".join(lines) + "\n"
        for part in PARTS:
            texts[f"{pair}/IWSLT14.{part}.{pair}.{code}.xml"] = (
                '<?xml version="1.0" encoding="UTF-8"?>\n<doc docid="1">\n<title>No</title>\n'
                f'<seg id="1"> {code} {part}’s first &amp; last. </seg>\n'
                f'<seg id="2">{code.upper()} two</seg>\n</doc>\n'
            )
    return texts


def unpacked(root: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def packed(root: Path, texts: dict[str, str], name: str = "de-en.tgz") -> Path:
    with tarfile.open(root / name, "w:gz") as archive:
        for member, text in texts.items():
            info = tarfile.TarInfo(member)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return root


def source(root: Path, **options: object) -> Iwslt14Source:
    named = {"source": "iwslt14", "root": str(root), "pairs": ("de-en",)}
    return Iwslt14Source(Iwslt14Settings(**{**named, **options}))


def fetched(root: Path, **options: object) -> Iwslt14Source:
    chosen = source(root, **options)
    chosen.settle(root / "cache", progress=False)
    chosen.fetch(root / "cache", progress=False)
    return chosen


def test_markup_goes_and_titles_stay(tmp_path):
    train = list(fetched(packed(tmp_path, members())).read(DE_EN, "train"))
    assert train[:3] == [
        ("DE: Title & more", "EN: Title & more"),
        ("About a talk.", "About a talk."),
        ("Sentence de 0, isn't it?", "Sentence en 0, isn't it?"),
    ]


def test_the_recipe_takes_every_23rd_pair_as_valid(tmp_path):
    chosen = fetched(packed(tmp_path, members()), valid_cut="recipe")
    valid, train = (list(chosen.read(DE_EN, split)) for split in ("valid", "train"))
    # Title and description are the first two.
    assert [target for _, target in valid] == [
        f"Sentence en {n}, isn't it?" for n in (23 - 3, 46 - 3)
    ]
    assert len(train) == SENTENCES + 2 - 2
    assert not set(valid) & set(train)
    assert chosen.splits(DE_EN) == ("train", "valid", "test")


def test_without_the_recipes_cut_all_pairs_are_train(tmp_path):
    chosen = fetched(packed(tmp_path, members()))
    assert chosen.splits(DE_EN) == ("train", "test")
    assert len(list(chosen.read(DE_EN, "train"))) == SENTENCES + 2
    assert list(chosen.read(DE_EN, "valid")) == []


@pytest.mark.parametrize("cut", ["hash", "recipe"])
def test_held_out_english_is_in_no_train_of_any_language(tmp_path, run, cut):
    """The languages share their English, but not their first lines, as talks are translated."""
    pairs = ("de-en", "es-en", "it-en")
    for first, pair in enumerate(pairs):
        packed(tmp_path, members(pair, numbers=range(first, 600)), f"{pair}.tgz")
    settings = conf_settings(
        root=str(tmp_path), pairs=pairs, valid_cut=cut, vocabulary={"size": 80}
    )
    corpus = run(settings)
    english = {
        (pair, split): set(corpus.texts(Direction("en", pair.source), split)[0])
        for pair in map(Direction.parse, pairs)
        for split in ("valid", "test")
    }
    held = set().union(*english.values())
    dropped = 0
    for pair in map(Direction.parse, pairs):
        table = corpus.table(Direction("en", pair.source), "train")
        trained = set(corpus.vocabulary.decode([table.source(n) for n in range(len(table))]))
        assert len(trained) > 400
        assert not trained & held
        dropped += corpus.report["pairs"][str(pair)]["train"]["dropped"].get("held_out", 0)
    valid = [english[Direction.parse(pair), "valid"] for pair in pairs]
    if cut == "hash":
        # One set for all languages, of which nothing is in train anyway.
        assert len(valid[0]) > 10
        assert set.intersection(*valid) == set.union(*valid)
        assert dropped == 0
    else:
        # Each language leaves its own out of the others' train.
        assert not set.intersection(*valid)
        assert dropped > 100


def test_test_sets_are_joined_in_the_order_of_the_recipe(tmp_path):
    test = list(fetched(packed(tmp_path, members())).read(DE_EN, "test"))
    assert test[0] == ("de TED.dev2010's first & last.", "en TED.dev2010's first & last.")
    assert [source.split("'")[0] for source, _ in test[::2]] == [f"de {part}" for part in PARTS]
    assert test[1::2] == [("DE two", "EN two")] * 5


def test_a_part_that_a_language_lacks_is_left_out(tmp_path):
    texts = {name: text for name, text in members().items() if "TEDX" not in name}
    assert len(list(fetched(packed(tmp_path, texts)).read(DE_EN, "test"))) == 8
    one_side = members()
    del one_side["de-en/IWSLT14.TEDX.dev2012.de-en.en.xml"]
    with pytest.raises(DataError, match=r"lacks IWSLT14\.TEDX\.dev2012\.de-en\.en\.xml"):
        fetched(packed(tmp_path, one_side))
    with pytest.raises(DataError, match="no test set"):
        fetched(packed(tmp_path, texts), test_parts=("TED.tst2099",))


def test_pairs_are_kept_by_their_tokens(tmp_path):
    texts = members()
    for code, lines in (
        ("de", ["eins zwei drei", "eins zwei", "", "a " * 175, "a " * 176, "Ja, ja"]),
        ("en", ["one two", "one two three four", "one", "b " * 175, "b " * 176, "Yes yes"]),
    ):
        texts[f"de-en/train.tags.de-en.{code}"] = "\n".join(lines) + "\n"
    kept = [target for _, target in fetched(packed(tmp_path, texts)).read(DE_EN, "train")]
    # "Ja , ja" is three tokens, "Yes yes" two.
    assert kept == ["one two", ("b " * 175).strip(), "Yes yes"]


def test_an_entity_for_the_end_of_a_line_ends_no_line(tmp_path):
    texts = members()
    texts["de-en/train.tags.de-en.de"] = "eins&#10;zwei drei vier\nfünf sechs\n"
    texts["de-en/train.tags.de-en.en"] = "one two three four five six seven\nfive six\n"
    assert list(fetched(packed(tmp_path, texts)).read(DE_EN, "train")) == [
        ("eins zwei drei vier", "one two three four five six seven"),
        ("fünf sechs", "five six"),
    ]


def test_cased_lower_cased_and_tokenised_variants_cut_at_the_same_places(tmp_path):
    packed(tmp_path, members())
    variants = {
        options: fetched(tmp_path, lowercase=options[0], tokenised=options[1], valid_cut="recipe")
        for options in ((False, False), (True, False), (True, True))
    }
    first = {options: next(chosen.read(DE_EN, "valid")) for options, chosen in variants.items()}
    assert first[False, False][1] == "Sentence en 20, isn't it?"
    assert first[True, False][1] == "sentence en 20, isn't it?"
    assert first[True, True][1] == "sentence en 20 , isn &apos;t it ?"


def test_folders_serve_like_archives_and_pairs_are_named_either_way_round(tmp_path):
    unpacked(tmp_path, members())
    chosen = fetched(tmp_path, pairs=("en-de",))
    assert next(chosen.read(DE_EN.reverse, "train")) == ("EN: Title & more", "DE: Title & more")
    assert len(chosen.identity()["inputs"]["en-de"]) == 2 + 2 * len(PARTS)


def test_what_is_cut_is_kept_until_archive_or_recipe_change(tmp_path):
    packed(tmp_path, members())
    cache = tmp_path / "cache" / "iwslt14"
    before = source(tmp_path).identity()
    fetched(tmp_path)
    stamps = [path.stat().st_mtime_ns for path in cache.glob("*/*")]
    fetched(tmp_path)
    assert [path.stat().st_mtime_ns for path in cache.glob("*/*")] == stamps
    assert source(tmp_path).identity() == before
    fetched(tmp_path, lowercase=True)
    fetched(tmp_path, valid_cut="recipe")
    assert len(list(cache.glob("de-en-*"))) == 3
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "de-en.tgz").write_bytes((tmp_path / "de-en.tgz").read_bytes())
    assert source(tmp_path / "elsewhere").identity() == before
    packed(tmp_path, {**members(), "de-en/more": "more"})
    assert source(tmp_path).identity() != before


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "de-en/../../outside"])
def test_archives_that_lead_outside_are_refused_and_leave_nothing(tmp_path, name):
    packed(tmp_path, {**members(), name: "evil"})
    with pytest.raises(DataError, match="leads out of the archive"):
        fetched(tmp_path)
    assert [path.name for path in (tmp_path / "cache" / "iwslt14").iterdir()] == [".lock"]
    assert not (tmp_path / "outside").exists()


def test_links_in_an_archive_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret\n" * (SENTENCES + 5))
    texts = members()
    del texts["de-en/train.tags.de-en.de"]
    packed(tmp_path, texts)
    with tarfile.open(tmp_path / "de-en.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("de-en/train.tags.de-en.de")
        info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(info)
    with pytest.raises(DataError, match=r"lacks train\.tags\.de-en\.de"):
        fetched(tmp_path)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_truncated_archive_is_told_and_leaves_nothing(tmp_path, kept):
    packed(tmp_path, members())
    archive = tmp_path / "de-en.tgz"
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError, match=r"de-en\.tgz.* cannot be read"):
        fetched(tmp_path)
    assert [path.name for path in (tmp_path / "cache" / "iwslt14").iterdir()] == [".lock"]


def test_sides_of_unequal_length_are_told(tmp_path):
    texts = members()
    texts["de-en/train.tags.de-en.en"] += "one more\n"
    with pytest.raises(DataError, match=rf"sentence {SENTENCES + 3} of train has no counterpart"):
        fetched(packed(tmp_path, texts))


def test_pairs_without_an_archive_are_all_named(tmp_path):
    packed(tmp_path, members())
    with pytest.raises(DataError, match=r"neither ar-en\.tgz, fa-en\.tgz"):
        source(tmp_path, pairs=("de-en", "ar-en", "fa-en"))
    settings = Iwslt14Settings(
        source="iwslt14", root=str(tmp_path), pairs=("de-en", "de-fa"), directions=("de-en",)
    )
    chosen = Iwslt14Source(settings, evaluated={Direction("de", "fa")})
    assert chosen.splits(Direction("de", "fa")) == ()


def test_reading_before_fetching_is_told(tmp_path):
    with pytest.raises(DataError, match="call fetch"):
        list(source(packed(tmp_path, members())).read(DE_EN, "train"))


def conf_settings(**options: object) -> Iwslt14Settings:
    conf = {**yaml.safe_load(CONF.read_text()), "root": "", **options}
    return Iwslt14Settings.model_validate_json(json.dumps(conf))


def test_the_configuration_names_eight_languages_and_holds_out_as_much_as_the_recipe():
    settings = conf_settings()
    assert len(settings.language_table()) == 9
    assert settings.split.valid == pytest.approx(1 / settings.valid_every, rel=0.01)
    assert settings.split.max_valid is None
