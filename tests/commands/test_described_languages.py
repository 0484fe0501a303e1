"""Claims about languages outside the catalogue: described, they are used like the others."""

import csv
import json

import pytest
from language_models import saved_model, saved_texts, words_of_files

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.language_steps.identifying import step_identifier
from nsmt.commands.languages import LanguagesConfig, languages
from nsmt.data.identification import LanguageIdentifier
from nsmt.errors import ConfigurationError
from nsmt.languages import CATALOGUE, LanguageSettings, catalogue_with
from nsmt.probing.language_facts import resource_class

WORDS = {"de": "Hund", "lv": "suns", "ltg": "suņs", "xx": "qqq"}
LATGALIAN = (
    "described.ltg.name=Latgalian",
    "described.ltg.family=Baltic",
    "described.ltg.flores=ltg_Latn",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    saved_model(folder / "model")
    saved_texts(folder, WORDS)
    (folder / "questions.yaml").write_text("lv: ['Kas?']\nxx: ['Kas?']\n")
    return folder


def words(place, output, *more):
    return words_of_files(
        place,
        "languages=[de,lv,ltg]",
        "gathering.tokens=1000",
        "gathering.context=64",
        "perplexity.tokens=128",
        "perplexity.context=64",
        "perplexity.random_seeds=[]",
        "forcing.generation.max_new_tokens=2",
        "steps=[perplexity,fertility]",
        f"output={output}",
        *more,
    )


def page_of(place, output, *more):
    return languages(composed("languages", words(place, output, *more), LanguagesConfig))


def rows_of(page, name):
    with (page.parent / "tables" / f"{name}.csv").open() as file:
        return {row[0]: row[1:] for row in csv.reader(file)}


def said_of(command, capsys):
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def test_a_language_that_was_described_is_found_and_looked_at(place, tmp_path):
    page = page_of(place, tmp_path, *LATGALIAN)
    neurons = rows_of(page, "neurons")
    assert neurons["Latgalian"][0] == neurons["Latvian"][0] == "Baltic"
    pairs = rows_of(page, "families")
    assert pairs["same family and script"][0] == "1"
    assert pairs["other family, same script"][0] == "2"
    assert "ltg" in rows_of(page, "resources")
    perplexity = json.loads((page.parent / "results" / "perplexity.json").read_text())
    assert perplexity["ltg"].keys() == {"de", "lv", "ltg"}


def test_what_nobody_has_said_of_a_language_relates_it_to_none(place, tmp_path):
    more = ("languages=[de,lv,xx]", "described.xx.name=Xish")
    page = page_of(place, tmp_path, *more)
    assert rows_of(page, "neurons")["Xish"][0] == "other"
    pairs = rows_of(page, "families")
    assert sum(int(row[0]) for group, row in pairs.items() if group != "pairs") == 1


def test_a_description_comes_before_the_catalogues(place, tmp_path):
    page = page_of(place, tmp_path, *LATGALIAN, "described.lv.family=Eastern Baltic", "steps=[]")
    neurons = rows_of(page, "neurons")
    assert neurons["Latvian"][0] == "Eastern Baltic"
    assert CATALOGUE["lv"].family == "Baltic"


@pytest.mark.parametrize("command", ["languages", "identify"])
def test_languages_that_nobody_has_described_are_all_named(place, tmp_path, capsys, command):
    said = said_of([command, *words(place, tmp_path, "languages=[de,ltg,xx]")], capsys)
    assert "'ltg', 'xx' is not in the catalogue" in said
    assert "described.ltg.name=…" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("steps=[forcing]",), "no questions in lv, xx"),
        (
            ("steps=[forcing]", "forcing.questions=PLACE/questions.yaml"),
            "does not know xx fix: name the other languages in languages, or leave forcing out",
        ),
        (("steps=[fallback]", "fallback.asked=de"), "or leave fallback out of steps"),
        (("steps=[tasks]",), "tasks.languages: xx is not in the catalogue"),
        (("described.xx.nmae=x",), "unknown key 'described.xx.nmae'"),
        (("described.LTG.name=x",), "'LTG' is not a language code"),
    ],
)
def test_what_a_step_lacks_of_it_is_told_before_the_model_is_read(
    place, tmp_path, capsys, more, said
):
    more = [word.replace("PLACE", str(place)) for word in more]
    more += ["languages=[de,lv,xx]", "described.xx.name=Xish"]
    more += ["language_model.path=/nowhere/at/all"]
    assert said in said_of(["languages", *words(place, tmp_path, *more)], capsys)


def test_answers_are_identified_by_the_code_that_the_identifier_has(place, tmp_path):
    more = (
        "languages=[de,xx]",
        "described.xx.flores=lvs_Latn",
        f"forcing.questions={place}/questions.yaml",
        "steps=[forcing]",
    )
    page = page_of(place, tmp_path, *more)
    found = json.loads((page.parent / "results" / "forcing.json").read_text())
    assert found["identifier"].endswith("|languages:de,xx=lv")
    assert {each["came"] for each in found["plain"]} <= {"", "de", "xx"}


@pytest.mark.parametrize(
    ("code", "flores", "left_out"),
    [
        ("deu_Latn", None, "de"),
        ("deu", None, "de"),
        ("zh_Hant", None, "zh"),
        ("sr_Latn", None, "sr"),
        ("nb", "nob_Latn", "no"),
    ],
)
def test_a_described_language_comes_before_the_catalogues_of_the_same_name(code, flores, left_out):
    known = catalogue_with({code: LanguageSettings(flores=flores)})
    among = step_identifier("fallback", CATALOGUE.values(), required=["en"]).languages
    found = step_identifier("fallback", known.values(), required=["en", code]).languages
    assert {*found} == {*among, code} - {left_out}
    # Both at once are still one too many.
    with pytest.raises(ConfigurationError, match=r"cannot tell .*\n.*leave fallback out"):
        step_identifier("fallback", known.values(), required=[code, left_out])


def test_an_answer_is_in_the_described_language_that_the_identifier_calls_otherwise():
    known = catalogue_with({"deu_Latn": LanguageSettings(), "por_Latn": LanguageSettings()})
    found = step_identifier("fallback", known.values(), required=("en", "deu_Latn"))
    assert found.identify("Die alte Brücke wurde wegen des starken Regens gesperrt.") == "deu_Latn"
    # Of two that nobody asked for, the catalogue's.
    assert {"pt", "deu_Latn"} < set(found.languages)
    assert not {"de", "por_Latn"} & set(found.languages)
    assert "deu_Latn=de" in found.signature


def test_the_catalogues_youngest_have_a_class_and_are_identified():
    codes = ("lv", "lt", "et", "ka", "cy", "mk", "sl", "sk")
    assert [resource_class(code) for code in codes] == [3, 3, 3, 3, 1, 1, 3, 3]
    found = LanguageIdentifier([CATALOGUE[code] for code in codes], required=codes)
    sentences = {
        "lv": "Visi cilvēki piedzimst brīvi un vienlīdzīgi savā pašcieņā un tiesībās.",
        "et": "Kõik inimesed sünnivad vabadena ja võrdsetena oma väärikuselt ja õigustelt.",
        "ka": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი.",
    }
    assert {code: found.identify(text) for code, text in sentences.items()} == {
        code: code for code in sentences
    }
