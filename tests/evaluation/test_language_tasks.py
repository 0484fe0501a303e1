"""Claims about tasks for language models: files in their authors' formats, prompts, scores."""

import json
import re
from importlib.util import find_spec

import pytest

from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.language_models.tasks import (
    TASKS,
    Example,
    MissingLanguageError,
    _tokenizer,
    answer_words,
    squad_words,
)


def lines(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


def belebele(**changes):
    """A row with all fields of the authors' files."""
    answers = {
        f"mc_answer{place}": text for place, text in enumerate(["cat", "dog", "cow", "I"], 1)
    }
    row = {
        "link": "https://example.org/dogs",
        "question_number": 1,
        "flores_passage": "The dog runs.",
        "question": "Who runs?",
        **answers,
        "correct_answer_num": "2",
        "dialect": "deu_Latn",
        "ds": "2023-05-03",
    }
    return json.dumps(row | changes, ensure_ascii=False)


# The columns of XNLI-1.0.
XNLI = [
    "language",
    "gold_label",
    "sentence1_binary_parse",
    "sentence2_binary_parse",
    "sentence1_parse",
    "sentence2_parse",
    "sentence1",
    "sentence2",
    "promptID",
    "pairID",
    "genre",
    "label1",
    "label2",
    "label3",
    "label4",
    "label5",
    "sentence1_tokenized",
    "sentence2_tokenized",
    "match",
]


def inference_row(language, label, premise, hypothesis):
    known = {
        "language": language,
        "gold_label": label,
        "sentence1": premise,
        "sentence2": hypothesis,
        "promptID": "1",
        "pairID": "1",
        "genre": "facetoface",
        "label1": label,
        "match": "True",
    }
    return "\t".join(known.get(column, "") for column in XNLI)


@pytest.fixture
def folder(tmp_path):
    lines(tmp_path / "flores/devtest/eng_Latn.devtest", "The dog runs.", "A cat\u2028sleeps.")
    lines(tmp_path / "flores/devtest/deu_Latn.devtest", "Der Hund läuft.", "Eine Katze schläft.")
    lines(tmp_path / "belebele/deu_Latn.jsonl", belebele(), belebele(question_number=2))
    asked = {
        "id": "56beb4343aeaaa14008c925b",
        "question": "Wer läuft?",
        "answers": [{"text": "der Hund", "answer_start": 0}] * 2,
    }
    article = {"title": "Dog", "paragraphs": [{"context": "Der Hund läuft.", "qas": [asked]}]}
    data = json.dumps({"data": [article], "version": "1.1"}, ensure_ascii=False)
    lines(tmp_path / "xquad/xquad.de.json", data)
    lines(
        tmp_path / "xnli/xnli.test.tsv",
        "\t".join(XNLI),
        inference_row("de", "entailment", 'Er sagte "ja.', "Er sprach."),
        inference_row("en", "neutral", "He said yes.", "He slept."),
    )
    return tmp_path


def test_translation_pairs_sentences_of_two_files(folder):
    first, second = TASKS["translation"].read(folder, "de")
    assert first.prompt.endswith("into German: The dog runs.\nTranslation:")
    assert second == Example(second.prompt, ("Eine Katze schläft.",))
    lines(folder / "flores/devtest/deu_Latn.devtest", "Der Hund läuft.")
    with pytest.raises(DataError, match="2 sentences in English and 1"):
        TASKS["translation"].read(folder, "de")


def test_translations_are_scored_with_the_languages_own_tokeniser():
    task = TASKS["translation"]
    whole = "狗在大街上跑得很快而猫在花园里睡觉"
    example = Example("", (whole,))
    chinese = task.score([whole[:-2] + "看书"], [example], "zh")
    assert 50 < chinese["bleu"] < 100
    # The reference code's own metric takes the sentence for one word.
    assert chinese["mean sentence bleu (13a)"] < 1
    perfect = task.score([whole], [example], "zh")
    assert perfect["bleu"] == pytest.approx(100)
    assert perfect["chrf++"] == pytest.approx(100)


@pytest.mark.parametrize(("language", "tokenizer"), [("zh", "zh"), ("ko", "char"), ("de", "13a")])
def test_scores_of_translations_have_the_signature_of_their_tokeniser(language, tokenizer):
    found = TASKS["translation"].signatures(language, None)
    assert f"tok:{tokenizer}|" in found["bleu"]
    assert "tok:13a|" in found["mean sentence bleu (13a)"]
    assert "nw:2|" in found["chrf++"]
    example = Example("", ("가나 다",))
    assert TASKS["translation"].score(["가나 다"], [example], language).keys() == found.keys()


def test_characters_are_words_where_the_language_has_none_that_are_parted():
    task, example = TASKS["translation"], Example("", ("바다에서는 물이 짜다고 한다",))
    text = "바다에서는 물이 짜다고 했다"
    assert task.score([text], [example], "ko")["bleu"] > 50
    # As words of 13a three of four are right, and no four in a row.
    assert task.score([text], [example], "ko")["mean sentence bleu (13a)"] < 60


def test_japanese_is_parted_by_mecab_or_what_is_missing_is_named():
    task, example = TASKS["translation"], Example("", ("犬が通りを走り、猫が庭で眠る。",))
    if find_spec("MeCab") is None or find_spec("ipadic") is None:
        with pytest.raises(ConfigurationError, match=r"MeCab and ipadic[\s\S]*sacrebleu\[ja\]"):
            task.score(["犬が走る。"], [example], "ja")
        with pytest.raises(ConfigurationError, match="ja-mecab"):
            task.signatures("ja", None)
        return
    assert "tok:ja-mecab" in task.signatures("ja", None)["bleu"]
    assert task.score(list(example.expected), [example], "ja")["bleu"] == pytest.approx(100)


@pytest.mark.parametrize("code", ["zh", "ja", "ko", "th", "bo"])
def test_no_language_without_spaces_is_scored_with_13a(code):
    assert _tokenizer(code) != "13a"


def test_comprehension_is_the_letter_of_the_right_answer(folder):
    task = TASKS["comprehension"]
    examples = task.read(folder, "de")
    assert examples[0].expected == ("B",)
    assert "\nA: cat\nB: dog\nC: cow\nD: I\n" in examples[0].prompt
    assert task.score([" B: dog", "A dog, so B"], examples, "de") == {"accuracy": 50.0}
    assert task.score(["Bert", ""], examples, "de") == {"accuracy": 0.0}
    # Text after the answer's line is no answer.
    assert task.score(["\n B", "\n?\nB"], examples, "de") == {"accuracy": 50.0}


@pytest.mark.parametrize(
    "text",
    [
        "答案是B。",
        "回答はBです",
        "정답은 B입니다",
        "उत्तर Bहै",
        "Ответ:B",
        "(B)",
        "b) a cat",
        "(b)",
        "b",
    ],
)
def test_a_letter_stands_alone_beside_letters_of_other_scripts(text):
    assert TASKS["comprehension"].score([text], [Example("", ("B",))], "zh") == {"accuracy": 100.0}


@pytest.mark.parametrize("text", ["Bär", "B\u0308r", "Đáp", "B2", "ÉB", "ab B_1", "b cat"])
def test_a_letter_within_a_word_is_no_answer(text):
    assert TASKS["comprehension"].score([text], [Example("", ("B",))], "de") == {"accuracy": 0.0}


def test_answers_are_matched_as_in_squad(folder):
    task = TASKS["answering"]
    (example,) = task.read(folder, "de")
    assert example.expected == ("der Hund",)
    perfect = dict.fromkeys(("exact match", "f1"), 100.0)
    perfect |= {f"{name} (squad 1.1)": 100.0 for name in perfect}
    assert task.score(["\n Der Hund.\nQuestion:"], [example], "de") == perfect
    half = task.score(["der kleine Hund da"], [example], "de")
    assert half["exact match"] == 0
    assert half["f1"] == pytest.approx(100 * 2 * 2 / (4 + 2))
    assert squad_words("The  U.S. and an apple!") == ["us", "and", "apple"]
    # Marks and joiners are no letters of a word in SQuAD's own code.
    assert squad_words("a\u0300 la the\u200d gare") == ["\u0300", "la", "\u200d", "gare"]
    assert answer_words("«An die Freude»", "de") == ["an", "die", "freude"]


@pytest.mark.parametrize(
    ("language", "said", "expected"),
    [
        ("zh", "1998年。", "1998年"),
        ("zh", "“狗”", "狗"),
        ("th", "สุนัข วิ่ง", "สุนัขวิ่ง"),
        ("ar", "الكلب؟", "الكلب"),
    ],
)
def test_answers_match_whatever_the_scripts_punctuation(language, said, expected):
    found = TASKS["answering"].score([said], [Example("", (expected,))], language)
    assert found == {
        "exact match": 100.0,
        "f1": 100.0,
        # SQuAD's own takes the whole for another word.
        "exact match (squad 1.1)": 0.0,
        "f1 (squad 1.1)": 0.0,
    }


def test_characters_are_the_words_of_answers_where_no_spaces_part_them():
    assert answer_words("于1998年在 Bonn", "zh") == ["于", "1998", "年", "在", "bonn"]
    # A vowel sign and a tone mark are of the consonant's character.
    assert len(answer_words("ที่นี่", "th")) == 2
    found = TASKS["answering"].score(["在1998年"], [Example("", ("1998年",))], "zh")
    assert found["f1"] == pytest.approx(100 * 2 * 2 / (3 + 2))
    assert found["f1 (squad 1.1)"] == 0


def test_that_inference_is_of_the_dev_set_for_want_of_the_test_set_is_said(folder, caplog):
    expected = TASKS["inference"].read(folder, "de")
    assert not caplog.messages
    assert not TASKS["inference"].signatures("de", folder)
    (folder / "xnli/xnli.test.tsv").rename(folder / "xnli/xnli.dev.tsv")
    assert TASKS["inference"].read(folder, "de") == expected
    assert re.search(r"xnli\.test\.tsv is not there: scores are of .*xnli\.dev\.tsv", caplog.text)
    assert TASKS["inference"].signatures("de", folder) == {"accuracy": "xnli.dev.tsv"}
    assert not TASKS["inference"].signatures("de", None)


def test_inference_is_the_first_relation_that_is_named(folder):
    task = TASKS["inference"]
    (example,) = task.read(folder, "de")
    assert example.expected == ("entailment",)
    assert 'Er sagte "ja.' in example.prompt
    said = ["\n Entailment, not neutral", "neutral or entailment", "no\nentailment"]
    assert task.score(said[:1], [example], "de") == {"accuracy": 100.0}
    assert task.score(said[1:2], [example], "de") == {"accuracy": 0.0}
    assert task.score(said[2:], [example], "de") == {"accuracy": 0.0}


@pytest.mark.parametrize(
    ("task", "file", "text"),
    [
        ("comprehension", "belebele/deu_Latn.jsonl", "{"),
        ("comprehension", "belebele/deu_Latn.jsonl", belebele(correct_answer_num="0")),
        ("comprehension", "belebele/deu_Latn.jsonl", belebele(correct_answer_num="")),
        ("comprehension", "belebele/deu_Latn.jsonl", belebele(correct_answer_num="23")),
        ("comprehension", "belebele/deu_Latn.jsonl", '{"flores_passage": "The dog runs."}'),
        ("answering", "xquad/xquad.de.json", '{"rows": []}'),
        ("answering", "xquad/xquad.de.json", "[]"),
        ("inference", "xnli/xnli.test.tsv", "premise\thypothesis\nOne.\tTwo."),
    ],
)
def test_files_of_another_format_are_named(folder, task, file, text):
    lines(folder / file, text)
    with pytest.raises(DataError, match=f"{task} in 'de' are not in their authors' format"):
        TASKS[task].read(folder, "de")


@pytest.mark.parametrize("task", TASKS)
def test_a_language_that_a_set_lacks_is_told_from_a_missing_set(folder, task):
    with pytest.raises(MissingLanguageError, match="has no 'fr'"):
        TASKS[task].read(folder, "fr")


def test_a_missing_file_is_named(tmp_path):
    for task in TASKS.values():
        with pytest.raises(DataError, match="cannot be read") as told:
            task.read(tmp_path, "de")
        assert not isinstance(told.value, MissingLanguageError)
