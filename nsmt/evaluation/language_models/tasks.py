"""Tasks for language models under intervention: prompts, how long to answer, and scores.

Source: Language Arithmetics (arXiv 2507.22608, released code): translation out of English on
FLORES-200, comprehension on Belebele, question answering on XQuAD, inference on XNLI; greedy, with
a repetition penalty. Of the prompts only the gist is known; the wording here is ours, and so is
that an answer, but for a translation, is its first line that is not blank.

Data are of the Hugging Face hub (see `tasks_hub`), or files in the formats in which their authors
give them, below one folder:

| task | files |
|---|---|
| translation | `flores/devtest/deu_Latn.devtest`: a sentence a line, the same in all languages |
| comprehension | `belebele/deu_Latn.jsonl` |
| answering | `xquad/xquad.de.json`: as SQuAD 1.1 |
| inference | `xnli/xnli.test.tsv`, or `xnli.dev.tsv` |
"""

from __future__ import annotations

import csv
import json
import logging
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Literal

import regex
from sacrebleu.metrics.bleu import BLEU

from nsmt.data.sources.lines import read_lines
from nsmt.errors import DataError
from nsmt.evaluation.scoring import DEFAULT_TOKENIZER, metrics, score, signature_of
from nsmt.languages import CATALOGUE

_LOG = logging.getLogger(__name__)
TaskName = Literal["translation", "comprehension", "answering", "inference"]
# By the language's code: what BLEU needs where words are not parted by spaces.
_TOKENIZERS: Final = {"zh": "zh", "ja": "ja-mecab", "ko": "char", "bo": "char", "th": "char"}
# Where characters are the words of an answer.
_UNPARTED: Final = frozenset({"zh", "ja", "bo", "th"})
# The reference code's own metric.
_SENTENCE_BLEU: Final = "mean sentence bleu (13a)"
_LETTERS: Final = "ABCD"
# Not within a word of Latin letters; other scripts need no space before it. Small ones are words,
# but for what an answer begins with, as "b) Paris".
_LONE: Final = regex.compile(
    r"(?<![\p{Latin}\p{N}_])[ABCD](?![\p{Latin}\p{M}\p{N}_])|^\(?[abcd](?=[).:]|$)"
)
# SQuAD's ASCII, and what else Unicode has of the kind.
_PUNCTUATION: Final = regex.compile(rf"[\p{{P}}{regex.escape(string.punctuation)}]")
# Words of Latin letters and numbers stay whole.
_CHARACTERS: Final = regex.compile(r"[\p{Latin}\p{N}]+|\X")
# The first that is there is read.
_XNLI: Final = ("xnli.test.tsv", "xnli.dev.tsv")
_RELATIONS: Final = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True, slots=True)
class Example:
    """What a model gets, and the answers that are right."""

    prompt: str
    expected: tuple[str, ...]


class MissingLanguageError(DataError):
    """A set is there, and has no examples in the language."""

    def __init__(self, where: Path | str, language: str) -> None:
        super().__init__(f"{where} has no '{language}'", fix="leave it out of tasks.languages")


# Raises a MissingLanguageError, or a DataError for a set that is missing or of another format.
Reader = Callable[[Path, str], list[Example]]


@dataclass(frozen=True, slots=True)
class Task:
    """How examples of a language are made, how long an answer may be, and its scores."""

    read: Reader
    max_new_tokens: int
    stops: tuple[str, ...]
    # By metric, of a language and the folder of files, if any; scores without one are as their
    # function says.
    signatures: Callable[[str, Path | None], dict[str, str]]
    score: Callable[[Sequence[str], Sequence[Example], str], dict[str, float]]


def _as_given(read: Reader) -> Reader:
    """Files that are not as their authors give them are a DataError."""

    @wraps(read)
    def checked(folder: Path, language: str) -> list[Example]:
        try:
            return read(folder, language)
        except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
            raise DataError(
                f"data for {read.__name__} in '{language}' are not in their authors' format: "
                f"{error!r}",
                fix=f"fetch them again, or leave {read.__name__} out of tasks.names",
            ) from error

    return checked


def translation(folder: Path, language: str) -> list[Example]:
    """English sentences to be translated into a language; FLORES-200 devtest."""
    english, own = (
        folder / "flores" / "devtest" / f"{CATALOGUE[code].flores}.devtest"
        for code in ("en", language)
    )
    sides = [_lines(english), _lines_of(own, language)]
    if len(sides[0]) != len(sides[1]):
        raise DataError(
            f"FLORES has {len(sides[0])} sentences in English and {len(sides[1])} in '{language}'",
            fix="fetch both from the same release",
        )
    return [translated(source, target, language) for source, target in zip(*sides, strict=True)]


def translated(source: str, target: str, language: str) -> Example:
    """An English sentence, and what it is in a language."""
    name = CATALOGUE[language].name
    return Example(
        f"Translate this English sentence into {name}: {source}\nTranslation:", (target,)
    )


def translation_scores(
    texts: Sequence[str], examples: Sequence[Example], language: str
) -> dict[str, float]:
    """Corpus BLEU with the language's tokeniser, chrF++; and the reference code's own metric.

    The latter is the mean of sentence BLEU with the tokeniser 13a, which says nothing where words
    are not parted by spaces; here in points, as there in its heat maps.
    """
    hypotheses = [text.strip() for text in texts]
    references = [example.expected[0] for example in examples]
    found = score(hypotheses, references, tokenizer=_tokenizer(language))
    sentence = BLEU(effective_order=True)
    pairs = zip(hypotheses, references, strict=True)
    mean = fmean(sentence.sentence_score(text, [reference]).score for text, reference in pairs)
    scores = {key: each.value for key, each in found.items()}
    return scores | {_SENTENCE_BLEU: mean}


def translation_signatures(language: str, folder: Path | None) -> dict[str, str]:  # noqa: ARG001
    """sacreBLEU's signature of each metric of `translation_scores`."""
    used = dict(metrics(tokenizer=_tokenizer(language)))
    used[_SENTENCE_BLEU] = BLEU(effective_order=True)
    return {name: signature_of(metric) for name, metric in used.items()}


def _tokenizer(language: str) -> str:
    return _TOKENIZERS.get(language, DEFAULT_TOKENIZER)


@_as_given
def comprehension(folder: Path, language: str) -> list[Example]:
    """Passages with a question and four answers; Belebele."""
    lines = _lines_of(folder / "belebele" / f"{CATALOGUE[language].flores}.jsonl", language)
    return [chosen(json.loads(line)) for line in lines if line]


def chosen(row: Mapping[str, Any]) -> Example:
    """A row of Belebele, which has the same columns in files and on the hub."""
    options = "\n".join(
        f"{letter}: {row[f'mc_answer{number}']}" for number, letter in enumerate(_LETTERS, start=1)
    )
    prompt = (
        f"Passage: {row['flores_passage']}\nQuestion: {row['question']}\n{options}\n"
        "The letter of the right answer is:"
    )
    return Example(prompt, (_LETTERS[list("1234").index(str(row["correct_answer_num"]))],))


def letter_scores(
    texts: Sequence[str],
    examples: Sequence[Example],
    language: str,  # noqa: ARG001 -- as every task
) -> dict[str, float]:
    """The share of answers whose first lone letter A to D is the right one."""
    chosen = [_LONE.search(first_line(text)) for text in texts]
    right = [
        match is not None and match[0][-1].upper() in example.expected
        for match, example in zip(chosen, examples, strict=True)
    ]
    return {"accuracy": 100 * fmean(right)}


def first_line(text: str) -> str:
    """The first line that is not blank: base models may begin an answer with a line end."""
    return text.strip().partition("\n")[0]


@_as_given
def answering(folder: Path, language: str) -> list[Example]:
    """Contexts with a question whose answer is a part of them; XQuAD."""
    lines = _lines_of(folder / "xquad" / f"xquad.{language}.json", language)
    data = json.loads("\n".join(lines))["data"]
    return [
        asked(paragraph["context"], row["question"], [each["text"] for each in row["answers"]])
        for article in data
        for paragraph in article["paragraphs"]
        for row in paragraph["qas"]
    ]


def asked(context: str, question: str, answers: Sequence[str]) -> Example:
    """A question, and answers any of which is right; a ValueError without one."""
    if not answers:
        raise ValueError(f"'{question}' has no answer")
    prompt = (
        f"Context: {context}\nQuestion: {question}\n"
        "Extract the exact answer from the context.\nAnswer:"
    )
    return Example(prompt, tuple(dict.fromkeys(answers)))


def answer_scores(
    texts: Sequence[str], examples: Sequence[Example], language: str
) -> dict[str, float]:
    """Exact match and F1 of words, against the nearest right answer; and those of SQuAD 1.1.

    The latter know no punctuation but ASCII and part words by spaces alone.
    """
    found = _matches(texts, examples, lambda text: answer_words(text, language))
    squad = _matches(texts, examples, squad_words)
    return found | {f"{name} (squad 1.1)": score for name, score in squad.items()}


def _matches(
    texts: Sequence[str], examples: Sequence[Example], words: Callable[[str], list[str]]
) -> dict[str, float]:
    exact, overlap = [], []
    for text, example in zip(texts, examples, strict=True):
        found = words(first_line(text))
        known = [words(answer) for answer in example.expected]
        exact.append(found in known)
        overlap.append(max(_f1(found, answer) for answer in known))
    return {"exact match": 100 * fmean(exact), "f1": 100 * fmean(overlap)}


def answer_words(answer: str, language: str) -> list[str]:
    """In lower case without punctuation; characters where words are not parted by spaces.

    English loses its articles, as in SQuAD; other languages keep theirs.
    """
    bare = _PUNCTUATION.sub("", answer.lower())
    if language in _UNPARTED:
        return [word for word in _CHARACTERS.findall(bare) if not word.isspace()]
    return _without_articles(bare) if language == "en" else bare.split()


def squad_words(answer: str) -> list[str]:
    """In lower case without ASCII punctuation and English articles (SQuAD 1.1)."""
    return _without_articles(answer.lower().translate(str.maketrans("", "", string.punctuation)))


def _without_articles(text: str) -> list[str]:
    # SQuAD's words are those of re; for regex, marks and joiners are parts of words.
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _f1(found: list[str], expected: list[str]) -> float:
    common = sum((Counter(found) & Counter(expected)).values())
    return 2 * common / (len(found) + len(expected)) if common else 0.0


@_as_given
def inference(folder: Path, language: str) -> list[Example]:
    """Premises and hypotheses, with what one says of the other; XNLI, test if it is there."""
    path = _xnli(folder)
    if path.name != _XNLI[0]:
        _LOG.warning("%s is not there: scores are of %s", path.with_name(_XNLI[0]), path)
    rows = csv.DictReader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE)
    found = [
        inferred(row["sentence1"], row["sentence2"], row["gold_label"])
        for row in rows
        if row["language"] == language
    ]
    if not found:
        raise MissingLanguageError(path, language)
    return found


def inferred(premise: str, hypothesis: str, relation: str) -> Example:
    """Two sentences and how they are related; a ValueError if that is no relation."""
    if relation not in _RELATIONS:
        raise ValueError(f"'{relation}' is none of {', '.join(_RELATIONS)}")
    prompt = (
        f"Premise: {premise}\nHypothesis: {hypothesis}\n"
        "Is the hypothesis an entailment of the premise, a contradiction, or neutral?\nAnswer:"
    )
    return Example(prompt, (relation,))


def relation_scores(
    texts: Sequence[str],
    examples: Sequence[Example],
    language: str,  # noqa: ARG001
) -> dict[str, float]:
    """The share of answers whose first relation, in English, is the right one."""
    right = []
    for text, example in zip(texts, examples, strict=True):
        line = first_line(text).lower()
        places = {name: line.find(name) for name in _RELATIONS}
        said = [name for name in sorted(places, key=places.__getitem__) if places[name] >= 0]
        right.append(bool(said) and said[0] in example.expected)
    return {"accuracy": 100 * fmean(right)}


def relation_signatures(language: str, folder: Path | None) -> dict[str, str]:  # noqa: ARG001
    """The name of the file that was read, where it is not that of the test set."""
    path = None if folder is None else _xnli(folder)
    return {} if path is None or path.name == _XNLI[0] else {"accuracy": path.name}


def _xnli(folder: Path) -> Path:
    files = [folder / "xnli" / name for name in _XNLI]
    return next((file for file in files if file.is_file()), files[0])


def _no_signatures(language: str, folder: Path | None) -> dict[str, str]:  # noqa: ARG001
    return {}


TASKS: Final[dict[TaskName, Task]] = {
    "translation": Task(
        translation,
        128,
        ("\n\n", "Translate", "Translation"),
        translation_signatures,
        translation_scores,
    ),
    "comprehension": Task(comprehension, 32, (), _no_signatures, letter_scores),
    "answering": Task(answering, 64, (), _no_signatures, answer_scores),
    "inference": Task(inference, 32, (), relation_signatures, relation_scores),
}


def _lines(path: Path) -> list[str]:
    try:
        return list(read_lines(path))
    except DataError as error:
        raise DataError(error.problem, fix="correct tasks.folder") from None


def _lines_of(path: Path, language: str) -> list[str]:
    """A language's own file of a set."""
    if not path.is_file() and any(path.parent.glob(f"*{path.suffix}")):
        raise MissingLanguageError(path.parent, language)
    return _lines(path)
