"""Language forcing: asked in one language, does a model answer in another?

Source: Language Arithmetics (arXiv 2507.22608, released code): short questions in each language,
answered under intervention for each target language; an answer counts if a language identifier
takes it for the target. Ours is `nsmt.data.identification` among the languages asked for, where the
reference has fastText's 176: the signature says which.

The questions are our own; the reference's are as short.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from nsmt.data.identification import Identifier, language_of
from nsmt.errors import ConfigurationError, DataError
from nsmt.steering.generation import GenerationSettings, Steer, generate
from nsmt.steering.loading import LanguageModel

# Where a prompt has the question.
QUESTION: Final = "{question}"
STOPS: Final = ("\nQ:", "\nA:")
_QUESTIONS: Final = Path(__file__).parent / "questions.yaml"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the language of the question, the one that was wanted, the one that came.

    A text without a letter is of no language: "".
    """

    asked: str
    wanted: str
    came: str
    text: str


def questions(languages: Sequence[str], *, own: Path | None = None) -> dict[str, list[str]]:
    """The questions in some languages, the same in each; ConfigurationError if one has none.

    `own` is a file as questions.yaml, whose languages take the place of those there.
    """
    known = _read(_QUESTIONS) | (_read(own) if own else {})
    if missing := [language for language in languages if language not in known]:
        raise ConfigurationError(
            f"there are no questions in {', '.join(missing)}",
            fix="write some in a file (forcing.questions, fallback.questions), or choose among "
            f"{', '.join(known)}",
        )
    return {language: known[language] for language in languages}


def _read(path: Path) -> dict[str, list[str]]:
    try:
        found: dict[str, list[str]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"{path} cannot be read: {error}", fix="correct forcing.questions"
        ) from None
    named = isinstance(found, dict) and all(isinstance(code, str) for code in found)
    if not named or not all(map(_asked, found.values())):
        raise DataError(
            f"{path} does not hold questions by language",
            fix='write one line a language, as "no": ["Hvem er du?", "Hva er snø?"], with quotes',
        )
    return found


def _asked(some: object) -> bool:
    return (
        isinstance(some, list)
        and bool(some)
        and all(isinstance(each, str) and each.strip() for each in some)
    )


def force(
    model: LanguageModel,
    asked: Mapping[str, Sequence[str]],
    targets: Sequence[str],
    steer: Callable[[Sequence[tuple[str, str]]], Steer] | None,
    identifier: Identifier,
    settings: GenerationSettings,
    *,
    prompt: str,
    tell: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Every question in every language, answered for every target.

    `prompt` holds "{question}". `steer` takes the (asked, target) of each prompt; without it the
    model is left as it is, and each question is answered once and counted for every target.
    """
    plain = steer is None
    wanted = [
        (language, target, question)
        for language, own in asked.items()
        for question in own
        for target in (targets[:1] if plain else targets)
    ]
    texts = generate(
        model,
        [prompt.replace(QUESTION, question) for _, _, question in wanted],
        settings,
        stops=STOPS,
        steer=None if steer is None else steer([pair[:2] for pair in wanted]),
        tell=tell,
    )
    answers = []
    for (language, target, _), text in zip(wanted, texts, strict=True):
        came = language_of(text, identifier)
        counted_for = targets if plain else (target,)
        answers += [Answer(language, each, came, text) for each in counted_for]
    return answers
