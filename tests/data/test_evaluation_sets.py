from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from nsmt.data.evaluation_settings import (
    EvaluationSetSettings,
    Flores200Settings,
    Ntrex128Settings,
)
from nsmt.data.sources import evaluation_sets as module
from nsmt.data.sources.evaluation_sets import (
    EvaluationSet,
    WithEvaluationSets,
    evaluated_pairs,
    open_sets,
)
from nsmt.data.sources.files import FilesSettings, FilesSource
from nsmt.errors import ConfigurationError, DataError
from nsmt.languages import Direction, LanguageSettings, LanguageTable

FLORES = {"en": "eng_Latn", "de": "deu_Latn", "sr": "srp_Cyrl", "oc": "oci_Latn"}
NTREX = {"en": "src.eng", "de": "ref.deu", "sr": "ref.srp-Latn"}
EN_DE, DE_SR, EN_OC = Direction("en", "de"), Direction("de", "sr"), Direction("en", "oc")


@pytest.fixture
def flores(tmp_path: Path) -> Path:
    for part, count in (("dev", 3), ("devtest", 2)):
        folder = tmp_path / "flores200_dataset" / part
        folder.mkdir(parents=True)
        for code, name in FLORES.items():
            text = "".join(f"{code} {part} {n}.\n" for n in range(count))
            (folder / f"{name}.{part}").write_text(text)
    return tmp_path / "flores200_dataset"


@pytest.fixture
def ntrex(tmp_path: Path) -> Path:
    folder = tmp_path / "NTREX-128"
    folder.mkdir()
    for code, name in NTREX.items():
        (folder / f"newstest2019-{name}.txt").write_text(f"{code} news 0.\n{code} news 1.\n")
    (folder / "newstest2019-ref.eng-US.txt").write_text("US 0.\nUS 1.\n")
    return folder


@pytest.fixture
def train(tmp_path: Path) -> FilesSettings:
    root = tmp_path / "train"
    root.mkdir()
    for other in ("de", "sr", "oc"):
        for split in ("train", "valid"):
            for code in ("en", other):
                (root / f"{split}.en-{other}.{code}").write_text(f"{code} own {split}\n")
    return FilesSettings(
        source="files",
        root=str(root),
        pairs=("en-de", "en-sr", "en-oc", "de-sr"),
        directions=("en-de", "sr-en", "en-oc"),
        licences={"de": "public domain"},
    )


def flores_set(root: Path, *codes: str, **options: object) -> EvaluationSet:
    settings = Flores200Settings(kind="flores200", root=str(root), **options)
    return EvaluationSet(settings, LanguageTable(codes), key="data.test_set")


def ntrex_set(root: Path, *codes: str, **options: object) -> EvaluationSet:
    settings = Ntrex128Settings(kind="ntrex128", root=str(root), **options)
    return EvaluationSet(settings, LanguageTable(codes), key="data.valid_set")


def test_dev_and_devtest_are_joined_in_this_order(flores):
    chosen = flores_set(flores, "en", "de", part="dev+devtest")
    chosen.check()
    read = list(chosen.read(EN_DE))
    assert read == [(f"en dev {n}.", f"de dev {n}.") for n in range(3)] + [
        (f"en devtest {n}.", f"de devtest {n}.") for n in range(2)
    ]


@pytest.mark.parametrize(("part", "count"), [("dev", 3), ("devtest", 2), ("dev+devtest", 5)])
def test_parts_are_evaluation_sets_of_their_own(flores, part, count):
    chosen = flores_set(flores.parent, "de", "sr", part=part)
    assert len(list(chosen.read(DE_SR))) == count


def test_pairs_without_english_are_read_both_ways_round(flores):
    chosen = flores_set(flores, "de", "sr")
    assert next(chosen.read(DE_SR)) == ("de devtest 0.", "sr devtest 0.")
    assert next(chosen.read(DE_SR.reverse)) == ("sr devtest 0.", "de devtest 0.")


def test_english_of_ntrex_is_the_source_unless_a_reference_is_named(ntrex):
    assert next(ntrex_set(ntrex, "en", "de").read(EN_DE)) == ("en news 0.", "de news 0.")
    named = ntrex_set(ntrex, "en", "de", codes={"en": "eng-US"})
    assert next(named.read(EN_DE)) == ("US 0.", "de news 0.")


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("ne", "nep"),
        ("fa", "fas"),
        ("tl", "fil"),
        ("zh", "zho-CN"),
        ("sd", "snd-Arab"),
        ("sr", "srp-Cyrl"),
        ("ku", "kmr"),
        ("no", "nob"),
    ],
)
def test_codes_of_ntrex_follow_from_those_of_flores(tmp_path, code, name):
    (tmp_path / f"newstest2019-ref.{name}.txt").write_text("text\n")
    (tmp_path / "newstest2019-ref.deu.txt").write_text("Text\n")
    chosen = ntrex_set(tmp_path, "de", code)
    assert list(chosen.read(Direction("de", code))) == [("Text", "text")]


def test_codes_are_overridden_by_the_configuration(ntrex, flores):
    chosen = ntrex_set(ntrex, "de", "sr", codes={"sr": "srp-Latn"})
    assert next(chosen.read(DE_SR)) == ("de news 0.", "sr news 0.")
    chosen = flores_set(flores, "de", "fr", codes={"fr": "oci_Latn"})
    assert next(chosen.read(Direction("de", "fr")))[1] == "oc devtest 0."


def test_all_languages_that_are_missing_are_told_with_the_way_out(ntrex):
    with pytest.raises(DataError, match=r"lacks fr, oc \(newstest2019-ref.fra.txt, (?s:.*)without"):
        ntrex_set(ntrex, "en", "fr", "oc")
    with pytest.raises(DataError, match="is not a folder"):
        ntrex_set(ntrex / "elsewhere", "en", "de")


def test_unequal_lengths_name_both_files(flores):
    with (flores / "devtest" / "srp_Cyrl.devtest").open("a") as file:
        file.write("one more\n")
    with pytest.raises(DataError, match=r"srp_Cyrl.devtest has 3 lines, .*deu_Latn.devtest has 2"):
        flores_set(flores, "de", "sr", part="dev+devtest").check()


def test_codes_with_a_slash_are_refused(flores):
    with pytest.raises(ValidationError, match="codes"):
        flores_set(flores, "en", "de", codes={"de": "../deu_Latn"})
    described = LanguageTable(["de"], {"de": LanguageSettings(flores="../../etc/passwd")})
    settings = Flores200Settings(kind="flores200", root=str(flores))
    with pytest.raises(ConfigurationError, match=r"data\.languages\.de\.flores"):
        EvaluationSet(settings, described, key="data.test_set")


def test_the_kind_decides_the_schema():
    adapter = TypeAdapter(EvaluationSetSettings)
    chosen = adapter.validate_json('{"kind": "ntrex128", "root": "x", "without": ["oc"]}')
    assert isinstance(chosen, Ntrex128Settings)
    with pytest.raises(ValidationError, match="flores200"):
        adapter.validate_json('{"kind": "wmt", "root": "x"}')


def test_serbian_is_brought_into_latin_script(flores):
    pytest.importorskip("cyrtranslit")
    (flores / "devtest" / "srp_Cyrl.devtest").write_text("Џорџ воли Љубљану.\nЊујорк.\n")
    chosen = flores_set(flores, "de", "sr", transliterate={"sr": "Latn"})
    assert [target for _, target in chosen.read(DE_SR)] == ["Džordž voli Ljubljanu.", "Njujork."]
    with pytest.raises(ConfigurationError, match="no rules for 'de'"):
        flores_set(flores, "de", "sr", transliterate={"de": "Latn"})


def test_transliteration_without_its_library_says_what_to_install(flores, monkeypatch):
    monkeypatch.setitem(module.importlib.sys.modules, "cyrtranslit", None)
    with pytest.raises(ConfigurationError, match=r"nsmt\[transliteration\]"):
        flores_set(flores, "de", "sr", transliterate={"sr": "Latn"})


def test_text_is_brought_into_the_form_of_the_ec30_corpus(flores):
    text = "A well-known “dog” , barked.\n"
    (flores / "devtest" / "eng_Latn.devtest").write_text(text + "x\n")
    pair = Direction("en", "de")
    forms = {
        form: next(flores_set(flores, "en", "de", form=form).read(pair))[0]
        for form in ("raw", "tokenised", "detokenised")
    }
    assert forms["raw"] == text.strip()
    assert forms["tokenised"] == 'A well @-@ known " dog " , barked .'
    assert forms["detokenised"] == 'A well-known "dog", barked.'


def test_sets_replace_the_splits_of_the_source_and_add_those_it_lacks(train, flores, ntrex):
    sets = open_sets(
        train,
        valid=Ntrex128Settings(
            kind="ntrex128", root=str(ntrex), without=("oc",), codes={"sr": "srp-Latn"}
        ),
        test=Flores200Settings(kind="flores200", root=str(flores), part="dev+devtest"),
    )
    covered = evaluated_pairs(train, sets)
    assert covered == set(train.parsed_pairs)
    source = WithEvaluationSets(FilesSource(train, evaluated=covered), sets)
    source.settle(flores, progress=False)
    source.fetch(flores, progress=False)
    assert source.splits(EN_DE) == ("train", "valid", "test")
    assert list(source.read(EN_DE, "train")) == [("en own train", "de own train")]
    assert next(source.read(EN_DE, "valid")) == ("en news 0.", "de news 0.")
    assert len(list(source.read(EN_DE, "test"))) == 5
    # NTREX lacks Occitan, so the pair keeps the valid of the source.
    assert list(source.read(EN_OC, "valid")) == [("en own valid", "oc own valid")]
    # Neither trained nor in the source, but in both sets.
    assert source.splits(DE_SR) == ("valid", "test")
    licences = source.licences()
    assert licences["de"] == (
        "public domain; valid: NTREX-128: CC BY-SA 4.0; test: FLORES-200: CC BY-SA 4.0"
    )
    assert "valid: the source's own" in licences["oc"]


def test_one_set_leaves_the_other_split_to_the_source(train, flores):
    test = Flores200Settings(kind="flores200", root=str(flores))
    sets = open_sets(train, valid=None, test=test)
    source = WithEvaluationSets(FilesSource(train, evaluated=evaluated_pairs(train, sets)), sets)
    assert list(source.read(EN_DE, "valid")) == [("en own valid", "de own valid")]
    assert source.splits(DE_SR) == ("test",)


def test_identity_follows_the_text_and_not_the_folder(flores, tmp_path):
    before = flores_set(flores, "en", "de").identity()
    moved = flores.rename(tmp_path / "moved")
    assert flores_set(moved, "en", "de").identity() == before
    assert flores_set(moved, "en", "de", without=("oc",)).identity() != before
    (moved / "devtest" / "deu_Latn.devtest").write_text("other\ntext\n")
    assert flores_set(moved, "en", "de").identity() != before
