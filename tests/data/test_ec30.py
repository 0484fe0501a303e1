import json
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from nsmt.data.evaluation_settings import (
    EvaluationSetSettings,
    Flores200Settings,
    Ntrex128Settings,
)
from nsmt.data.sources.ec30 import Ec30Settings, Ec30Source
from nsmt.errors import DataError
from nsmt.languages import CATALOGUE, Direction

CONF = Path(__file__).parents[2] / "conf" / "data" / "ec30.yaml"
EN_DE, EN_OC = Direction("en", "de"), Direction("en", "oc")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {
        "en-de.en": 'A well @-@ known " dog " barked .\n',
        "en-de.de": "Ein bekannter Hund bellte .\n",
        "en-oc.en": "Hello !\n",
        "en-oc.oc": "Adieu !\n",
        "val-others/test.en-oc.en": "A well-known “dog” barked.\n",
        "val-others/test.en-oc.oc": "De qué vòus ? \n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def source(root: Path, **options: object) -> Ec30Source:
    named = {"source": "ec30", "root": str(root), "pairs": ("en-de", "en-oc")}
    chosen = Ec30Source(Ec30Settings(**{**named, **options}))
    chosen.settle(root, progress=False)
    chosen.fetch(root, progress=False)
    return chosen


def conf_settings() -> Ec30Settings:
    conf = yaml.safe_load(CONF.read_text())
    conf |= {"root": "", "valid_set": None, "test_set": None}
    return Ec30Settings.model_validate_json(json.dumps(conf))


def test_thirty_languages_are_two_a_tier_of_each_family():
    settings = conf_settings()
    table = settings.language_table()
    assert len(settings.pairs) == 30
    assert len(settings.parsed_directions) == 60
    others = [language for code, language in table.items() if code != "en"]
    cells = [(language.family, language.tier) for language in others]
    assert len(set(cells)) == 15
    assert all(cells.count(cell) == 2 for cell in cells)
    assert table["en"] == CATALOGUE["en"]


def test_the_tiers_of_the_published_scores_are_those_of_the_corpus():
    table = conf_settings().language_table()
    scored = yaml.safe_load((CONF.parents[1] / "eval" / "paper_ec30.yaml").read_text())
    assert scored["languages"] == {
        code: {"tier": language.tier, "family": language.family}
        for code, language in table.items()
        if code != "en"
    }


def test_the_configuration_says_what_the_schema_defaults_to():
    settings, default = conf_settings(), Ec30Settings(source="ec30", root="", pairs=("en-de",))
    for field in ("tokenised", "detokenise", "pattern", "valid_pattern", "test_pattern"):
        assert getattr(settings, field) == getattr(default, field)
    conf = yaml.safe_load(CONF.read_text())
    adapter = TypeAdapter(EvaluationSetSettings)
    valid, test = (
        adapter.validate_json(json.dumps({**conf[split], "root": ""}))
        for split in ("valid_set", "test_set")
    )
    assert isinstance(valid, Ntrex128Settings)
    assert isinstance(test, Flores200Settings)
    assert (valid.codes["sr"], valid.without) == ("srp-Latn", ("oc",))
    assert (test.part, test.transliterate) == ("dev+devtest", {"sr": "Latn"})


def test_tokenised_text_is_made_running_text(root):
    chosen = source(root)
    assert list(chosen.read(EN_DE, "train")) == [
        ('A well-known "dog" barked.', "Ein bekannter Hund bellte.")
    ]
    # The lines of Occitan are published raw, and go the same way as train went.
    assert list(chosen.read(EN_OC, "valid")) == [('A well-known "dog" barked.', "De qué vòus?")]


def test_tokens_are_kept_and_made_of_what_is_raw(root):
    chosen = source(root, detokenise=False)
    assert next(chosen.read(EN_DE, "train"))[0] == 'A well @-@ known " dog " barked .'
    assert next(chosen.read(EN_OC, "valid"))[0] == 'A well @-@ known " dog " barked .'


def test_raw_text_stays_as_it_is(root):
    chosen = source(root, tokenised=())
    assert next(chosen.read(EN_DE, "train"))[0] == 'A well @-@ known " dog " barked .'
    assert next(chosen.read(EN_OC, "valid")) == ("A well-known “dog” barked.", "De qué vòus ? ")


def test_splits_are_those_of_which_files_are_there(root):
    chosen = source(root)
    assert chosen.splits(EN_DE) == ("train",)
    assert chosen.splits(EN_OC) == ("train", "valid")
    assert source(root, valid_pattern=None).splits(EN_OC) == ("train",)
    assert list(chosen.identity()) == ["en-de train", "en-oc train", "en-oc valid"]
    assert set(chosen.licences()) == {"en", "de", "oc"}


def test_other_layouts_are_said_by_patterns(root):
    (root / "EC40").mkdir()
    for language in ("en", "de"):
        (root / f"en-de.{language}").rename(root / "EC40" / f"train.de-en.{language}")
    chosen = source(root, pairs=("en-de",), pattern="EC40/train.{src}-{tgt}.{lang}")
    assert next(chosen.read(EN_DE, "train"))[1] == "Ein bekannter Hund bellte."
    for pattern in ("../{lang}", "{lang}.**", "{src}-{tgt}"):
        with pytest.raises(ValidationError):
            source(root, pattern=pattern)


def test_missing_and_uneven_files_are_told(root):
    with pytest.raises(DataError, match=r"no training text of 'en-fr'"):
        source(root, pairs=("en-fr",))
    (root / "en-de.de").write_text("eins\nzwei\n")
    with pytest.raises(DataError, match=r"line 2 of .*en-de\.de has no counterpart"):
        source(root)
    (root / "en-de.de").unlink()
    with pytest.raises(DataError, match=r"en-de\.de is missing"):
        source(root)


def test_an_untrained_pair_needs_no_text_if_a_set_evaluates_it(root):
    settings = Ec30Settings(
        source="ec30", root=str(root), pairs=("en-de", "de-oc"), directions=("en-de",)
    )
    chosen = Ec30Source(settings, evaluated={Direction("de", "oc")})
    assert chosen.splits(Direction("de", "oc")) == ()
    with pytest.raises(DataError, match="'de-oc'"):
        Ec30Source(settings)
