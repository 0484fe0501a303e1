"""Claims about the steps of `nsmt languages`: what is done to the model, what is told early."""

import pytest
from pydantic import ValidationError

from nsmt.commands.language_steps import ForcingSettings, TasksSettings, check_steps
from nsmt.commands.language_steps.forcing import _program
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.language_models.forcing import questions
from nsmt.steering.generation import GenerationSettings

GENERATION = GenerationSettings()


@pytest.mark.parametrize("settings_of", [ForcingSettings, TasksSettings])
def test_activation_by_a_factor_has_the_factor(settings_of):
    settings = settings_of(operation="multiply", activate_value=2.0, generation=GENERATION)
    found = settings.activation("de")
    assert (found.operation, found.value, found.languages) == ("multiply", 2.0, ("de",))


def test_forcing_switches_off_with_its_own_value_and_activates_with_another():
    settings = ForcingSettings(
        operation="multiply", activate_value=3.0, value=-1.0, strength=0.5, generation=GENERATION
    )
    silence, activate = _program(settings, "en", "de")
    assert (silence.value, silence.strength, activate.value, activate.strength) == (-1, 1, 3, 0.5)


@pytest.mark.parametrize("settings_of", [ForcingSettings, TasksSettings])
@pytest.mark.parametrize("operation", ["constant", "multiply", "random", "noise"])
def test_an_operation_that_would_switch_off_or_do_nothing_needs_a_value(settings_of, operation):
    with pytest.raises(ValidationError, match="activates nothing without a value"):
        settings_of(operation=operation, generation=GENERATION)
    with pytest.raises(ValidationError, match="means nothing to operation=add"):
        settings_of(activate_value=1.0, generation=GENERATION)


def test_a_set_without_some_of_the_languages_is_tested_in_the_others(tmp_path, caplog):
    (tmp_path / "xquad").mkdir()
    for language in ("de", "hi"):
        (tmp_path / "xquad" / f"xquad.{language}.json").write_text(
            '{"data": [{"paragraphs": [{"context": "a", "qas": '
            '[{"question": "b", "answers": [{"text": "a"}]}]}]}]}'
        )
    settings = TasksSettings(names=("answering",), folder=str(tmp_path), generation=GENERATION)
    check_steps({"tasks": settings}, ("de", "fr", "hi", "it"))
    assert "answering is left out in fr, it" in caplog.text
    with pytest.raises(DataError, match="cannot be tested in any of fr, it"):
        check_steps({"tasks": settings}, ("fr", "it"))


QUESTIONS = '"no": ["Hvem?"]\nmt: ["Min?", "Xi?"]\n'


def test_own_questions_come_before_ours(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(QUESTIONS)
    found = questions(["no", "mt", "de"], own=path)
    assert found == {"no": ["Hvem?"], "mt": ["Min?", "Xi?"], "de": questions(["de"])["de"]}
    settings = ForcingSettings(questions=str(path), generation=GENERATION)
    check_steps({"forcing": settings}, ("no", "mt", "de"))
    with pytest.raises(ConfigurationError, match=r"no questions in bo[\s\S]*forcing\.questions"):
        check_steps({"forcing": settings}, ("de", "bo"))


@pytest.mark.parametrize("text", ["no: [Hvem]", "[a]", "mt: []", "mt: [1]", "mt: ['']", "mt: Min"])
def test_a_file_that_holds_no_questions_by_language_is_named(tmp_path, text):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match="does not hold questions by language"):
        questions(["de"], own=path)


def test_every_language_has_as_many_questions():
    paper = [
        "it",
        "es",
        "de",
        "ja",
        "ar",
        "zh",
        "af",
        "nl",
        "fr",
        "pt",
        "ru",
        "ko",
        "hi",
        "tr",
        "pl",
        "sv",
        "da",
        "no",
        "en",
    ]
    assert {len(own) for own in questions(paper).values()} == {6}
