"""Claims about tasks for language models: files in their authors' formats, prompts, scores."""

import json

import pytest

from nsmt.errors import DataError
from nsmt.evaluation.language_models.tasks import TASKS, Example, normalised


def lines(path, *texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    lines(tmp_path / "flores/devtest/eng_Latn.devtest", "The dog runs.", "A cat\u2028sleeps.")
    lines(tmp_path / "flores/devtest/deu_Latn.devtest", "Der Hund läuft.", "Eine Katze schläft.")
    row = {
        "flores_passage": "The dog runs.",
        "question": "Who runs?",
        **{f"mc_answer{number}": text for number, text in enumerate(["cat", "dog", "cow", "I"], 1)},
        "correct_answer_num": "2",
    }
    lines(tmp_path / "belebele/deu_Latn.jsonl", json.dumps(row), json.dumps(row))
    asked = {"question": "Wer läuft?", "answers": [{"text": "der Hund", "answer_start": 0}] * 2}
    data = {"data": [{"paragraphs": [{"context": "Der Hund läuft.", "qas": [asked]}]}]}
    lines(tmp_path / "xquad/xquad.de.json", json.dumps(data))
    lines(
        tmp_path / "xnli/xnli.test.tsv",
        "language\tgold_label\tsentence1\tsentence2",
        'de\tentailment\tEr sagte "ja.\tEr sprach.',
        "en\tneutral\tHe said yes.\tHe slept.",
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


def test_comprehension_is_the_letter_of_the_right_answer(folder):
    task = TASKS["comprehension"]
    examples = task.read(folder, "de")
    assert examples[0].expected == ("B",)
    assert "\nA: cat\nB: dog\nC: cow\nD: I\n" in examples[0].prompt
    assert task.score([" B: dog", "A dog, so B"], examples, "de") == {"accuracy": 50.0}
    assert task.score(["Bert", ""], examples, "de") == {"accuracy": 0.0}


def test_answers_are_matched_as_in_squad(folder):
    task = TASKS["answering"]
    (example,) = task.read(folder, "de")
    assert example.expected == ("der Hund",)
    assert task.score([" Der Hund."], [example], "de") == {"exact match": 100.0, "f1": 100.0}
    half = task.score(["der kleine Hund da"], [example], "de")
    assert half["exact match"] == 0
    assert half["f1"] == pytest.approx(100 * 2 * 2 / (4 + 2))
    assert normalised("The  U.S. and an apple!") == "us and apple"


def test_inference_is_the_first_relation_that_is_named(folder):
    task = TASKS["inference"]
    (example,) = task.read(folder, "de")
    assert example.expected == ("entailment",)
    assert 'Er sagte "ja.' in example.prompt
    said = [" Entailment, not neutral", "neutral or entailment", "no"]
    assert task.score(said[:1], [example], "de") == {"accuracy": 100.0}
    assert task.score(said[1:2], [example], "de") == {"accuracy": 0.0}
    assert task.score(said[2:], [example], "de") == {"accuracy": 0.0}
    with pytest.raises(DataError, match="has no 'fr'"):
        task.read(folder, "fr")


def test_a_missing_file_is_named(tmp_path):
    for task in TASKS.values():
        with pytest.raises(DataError, match="cannot be read"):
            task.read(tmp_path, "de")
