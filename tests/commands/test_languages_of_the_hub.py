"""Claims about `nsmt languages` on tasks of the hub: kept results, languages left out, faults."""

import json
import sys

import pytest
from language_models import saved_model, words_of_files
from task_sets import write_files, write_hub

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.language_steps import tasks
from nsmt.commands.languages import LanguagesConfig, languages
from nsmt.errors import DataError
from nsmt.evaluation.language_models.tasks_hub import HubSets

datasets = pytest.importorskip("datasets")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    saved_model(folder / "model")
    for language in ("de", "en"):
        lines = [f"{number} {language * 9}\n" for number in range(300)]
        (folder / f"{language}.txt").write_text("".join(lines))
    write_files(folder / "files")
    write_hub(folder / "sets", datasets)
    return folder


def words(place, *more):
    return words_of_files(
        place,
        "languages=[de,en]",
        "gathering.tokens=1000",
        "gathering.context=64",
        "steps=[tasks]",
        "tasks.languages=[de,lb]",
        "tasks.examples=1",
        f"tasks.folder={place}/files",
        f"tasks.hub.translation.dataset={place}/sets/flores_plus",
        f"tasks.hub.comprehension.dataset={place}/sets/belebele",
        f"tasks.hub.answering.dataset={place}/sets/xquad",
        f"tasks.hub.inference.dataset={place}/sets/xnli",
        f"output={place}/out",
        *more,
    )


def result(page):
    return json.loads((page.parent / "results" / "tasks.json").read_text())


def test_the_table_of_the_configuration_is_that_of_the_code():
    words = ["language_model=smollm2", "languages=[de,en]"]
    assert composed("languages", words, LanguagesConfig).tasks.hub == HubSets()


@pytest.mark.slow
def test_examples_that_files_gave_are_not_done_again_if_the_hub_gives_them(
    place, monkeypatch, caplog
):
    def never(*_, **__):
        raise AssertionError("measured again")

    expected = result(languages(composed("languages", words(place), LanguagesConfig)))
    names = ("translation", "comprehension", "answering", "inference")
    assert expected["lacking"] == {name: ["lb"] for name in names}
    for name in names:
        assert list(expected["scores"][name]["de"]) == ["", "de", "en"]
    caplog.clear()
    monkeypatch.setattr(tasks, "generate", never)
    of_hub = composed("languages", words(place, "tasks.source=hub"), LanguagesConfig)
    assert result(languages(of_hub)) == expected
    assert "comprehension is left out in lb: its set has none" in caplog.text
    other = words(place, "tasks.source=hub", "tasks.hub.inference.split=validation")
    with pytest.raises(AssertionError, match="measured again"):
        languages(composed("languages", other, LanguagesConfig))


def test_a_set_with_none_of_the_languages_says_what_was_looked_for(place):
    more = ("tasks.source=hub", "tasks.languages=[lb,oc]", "tasks.names=[answering]")
    with pytest.raises(DataError, match=r"in any of lb, oc: .*'xquad\.oc'.* has no 'oc'") as told:
        languages(composed("languages", words(place, *more), LanguagesConfig))
    assert "tasks.hub" in told.value.fix


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("tasks.hub.inference.dataset=/nowhere", "/nowhere cannot be read"),
        ("tasks.hub.inference.config=de", "should match pattern 'LANGUAGE|FLORES'"),
        ("tasks.source=web", "'files' or 'hub'"),
        ("tasks.hub.inference.splt=test", "split"),
    ],
)
def test_what_is_wrong_with_a_set_is_told_before_the_model_is_read(place, word, said, capsys):
    """The model does not exist: any work would end in another error."""
    more = ("tasks.source=hub", "language_model.path=/nowhere/at/all", word)
    with pytest.raises(SystemExit):
        main(["languages", *words(place, *more)])
    assert said in " ".join(capsys.readouterr().err.split())


def test_a_missing_library_is_told_before_the_model_is_read(place, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "datasets", None)
    # Of a revision that was not read before.
    more = ("tasks.source=hub", "tasks.hub.translation.revision=other")
    more += ("language_model.path=/nowhere/at/all",)
    with pytest.raises(SystemExit):
        main(["languages", *words(place, *more)])
    said = " ".join(capsys.readouterr().err.split())
    assert "tasks.source=hub needs the library datasets" in said
    assert "nsmt[huggingface]" in said
