"""Claims about the steps of `nsmt languages`: what is done to the model, what is told early."""

import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from nsmt.commands.language_steps import (
    FallbackSettings,
    ForcingSettings,
    GatheringSettings,
    PerplexitySettings,
    TasksSettings,
    check_steps,
    decisive,
)
from nsmt.commands.language_steps.deactivating import Deactivation
from nsmt.commands.language_steps.forcing import _program
from nsmt.commands.language_steps.subject import held_out, once
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.language_models import forcing as force_module
from nsmt.evaluation.language_models.forcing import questions
from nsmt.evaluation.language_models.tasks_hub import HubSets
from nsmt.languages import CATALOGUE
from nsmt.steering.generation import DecodingSettings, GenerationSettings
from nsmt.steering.interventions import Change, Intervention

GENERATION, DECODING = GenerationSettings(), DecodingSettings()


def test_forcing_switches_off_first_and_then_activates():
    settings = ForcingSettings(
        deactivate=Deactivation(value=-1.0),
        activate=Change(operation="multiply", value=3.0, strength=0.5, layers=(1,), ratio=0.2),
        generation=GENERATION,
    )
    assert _program(settings, "en", "de") == (
        Intervention(operation="constant", value=-1.0, languages=("en",)),
        Intervention(
            operation="multiply", value=3.0, strength=0.5, layers=(1,), ratio=0.2, languages=("de",)
        ),
    )
    alone = settings.model_copy(update={"deactivate": None})
    assert _program(alone, "en", "de") == _program(settings, "en", "de")[1:]
    # A question in the language wanted is none of its own: its neurons end at value + mean.
    assert [each.languages for each in _program(settings, "de", "de")] == [("de",), ("de",)]


@pytest.mark.parametrize(("operation", "differ"), [("constant", False), ("noise", True)])
def test_rows_of_a_batch_decide_a_result_only_where_noise_is_drawn(operation, differ):
    one, other = (
        PerplexitySettings(
            tokens=8,
            context=8,
            rows=rows,
            deactivate=Deactivation(operation=operation, value=1.0),
        )
        for rows in (1, 2)
    )
    assert (decisive(one) != decisive(other)) == differ


def test_several_languages_are_not_switched_off_by_the_mean_of_one():
    with pytest.raises(ValidationError, match="should be 'constant', 'multiply'"):
        Deactivation(operation="add")


def test_a_set_without_some_of_the_languages_is_tested_in_the_others(tmp_path, caplog):
    (tmp_path / "xquad").mkdir()
    for language in ("de", "hi"):
        (tmp_path / "xquad" / f"xquad.{language}.json").write_text(
            '{"data": [{"paragraphs": [{"context": "a", "qas": '
            '[{"question": "b", "answers": [{"text": "a"}]}]}]}]}'
        )
    settings = TasksSettings(names=("answering",), folder=str(tmp_path), generation=DECODING)
    check_steps({"tasks": settings}, ("de", "fr", "hi", "it"), CATALOGUE)
    assert "answering is left out in fr, it" in caplog.text
    with pytest.raises(DataError, match="cannot be tested in any of fr, it"):
        check_steps({"tasks": settings}, ("fr", "it"), CATALOGUE)


def test_a_set_without_examples_is_told_before_any_work(tmp_path):
    (tmp_path / "belebele").mkdir()
    (tmp_path / "belebele" / "deu_Latn.jsonl").write_text("")
    settings = TasksSettings(names=("comprehension",), folder=str(tmp_path), generation=DECODING)
    with pytest.raises(DataError, match="comprehension has no example in 'de'"):
        check_steps({"tasks": settings}, ("de",), CATALOGUE)


def test_fewer_tokens_than_a_context_are_told_with_both():
    with pytest.raises(ValidationError, match="tokens=100 does not fill a context of 512"):
        GatheringSettings(tokens=100)


def test_languages_without_a_held_out_context_are_named_together():
    contexts = {"de": [], "en": [[1, 2]], "fr": []}
    subject = SimpleNamespace(
        languages=tuple(contexts), contexts=lambda language, *_, **__: contexts[language]
    )
    with pytest.raises(DataError, match="no held-out context of de, fr"):
        held_out(subject, length=2, limit=2)


def test_a_likelihood_that_is_no_number_is_told_with_a_fix(tmp_path):
    subject = SimpleNamespace(languages=("de",), output=tmp_path, key=lambda **more: more)
    atlas = SimpleNamespace(fingerprint="1")
    neurons = SimpleNamespace(atlas=atlas, statistics=SimpleNamespace(provenance={}))
    with pytest.raises(DataError, match="perplexity/de: a likelihood is no finite number"):
        once(subject, "perplexity/de", neurons, GENERATION, lambda: {"nll": float("nan")})
    assert not list(tmp_path.rglob("*.json"))


def test_how_long_answers_may_be_is_not_asked_where_the_task_says_it():
    with pytest.raises(ValidationError, match=r"generation\.max_new_tokens"):
        TasksSettings.model_validate({"generation": {"max_new_tokens": 9}})


def test_where_examples_come_from_decides_no_score():
    """Not even the default of the hub's table, which may be mended."""
    settings = TasksSettings(generation=DECODING, examples=3)
    other = HubSets().model_copy(update={"translation": HubSets().comprehension})
    moved = settings.model_copy(update={"source": "hub", "folder": "there", "hub": other})
    assert moved.decisive() == settings.decisive()
    kept = settings.decisive().model_dump(mode="json")
    assert kept.keys() == {"names", "languages", "examples", "activate", "generation"}
    assert settings.decisive(names=("inference",)).names == ("inference",)


QUESTIONS = '"no": ["Hvem?"]\nmt: ["Min?", "Xi?"]\n'


def test_own_questions_come_before_ours(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(QUESTIONS)
    found = questions(["no", "mt", "de"], own=path)
    assert found == {"no": ["Hvem?"], "mt": ["Min?", "Xi?"], "de": questions(["de"])["de"]}
    settings = ForcingSettings(questions=str(path), generation=GENERATION)
    check_steps({"forcing": settings}, ("no", "mt", "de"), CATALOGUE)
    with pytest.raises(ConfigurationError, match=r"no questions in bo[\s\S]*forcing\.questions"):
        check_steps({"forcing": settings}, ("de", "bo"), CATALOGUE)


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
        "mt",
    ]
    assert {len(own) for own in questions(paper).values()} == {6}


@pytest.mark.parametrize("step", ["forcing", "fallback"])
def test_what_the_identifier_lacks_is_told_in_the_words_of_the_step(step, monkeypatch, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("sd: [a]\nti: [b]\n")
    settings = {
        "forcing": ForcingSettings(questions=str(path), generation=GENERATION),
        "fallback": FallbackSettings(generation=GENERATION),
    }[step]
    said = rf"does not know sd, ti\n.* in languages, or leave {step} out of steps"
    with pytest.raises(ConfigurationError, match=said):
        check_steps({step: settings}, ("en", "sd", "ti"), CATALOGUE)
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ConfigurationError, match=f"the step {step} needs py3langid"):
        check_steps({step: settings}, ("en", "de"), CATALOGUE)


class English:
    """An identifier with a prior for English."""

    signature = "English"
    languages = ("de", "en")

    def identify(self, text):
        return "en"


def test_an_answer_without_a_letter_is_in_no_language_wanted(monkeypatch):
    texts = [" Rome.", "1. 2. 3.", "!!!", " "]
    monkeypatch.setattr(force_module, "generate", lambda *_, **__: texts)
    asked = {"de": ["a", "b", "c", "d"]}
    answers = force_module.force(
        None, asked, ["en"], None, English(), GENERATION, prompt="{question}"
    )
    assert [answer.came for answer in answers] == ["en", "", "", ""]


def test_a_question_is_put_as_the_released_code_puts_it_or_as_one_likes(monkeypatch):
    seen = []

    def generate(_model, prompts, *_, **__):
        seen.extend(prompts)
        return ["" for _ in prompts]

    monkeypatch.setattr(force_module, "generate", generate)
    for prompt in (ForcingSettings(generation=GENERATION).prompt, "<{question}> {A}"):
        force_module.force(None, {"de": ["a?"]}, ["en"], None, English(), GENERATION, prompt=prompt)
    assert seen == ["Q: a? \nA:", "<a?> {A}"]
    assert FallbackSettings(generation=GENERATION).prompt == "Q: {question}A: "
    for settings in (ForcingSettings, FallbackSettings):
        with pytest.raises(ValidationError, match=r"holds \{question\}"):
            settings(prompt="Q: A:", generation=GENERATION)
