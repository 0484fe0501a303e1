"""How many tokens the model needs for the text of each language."""

from __future__ import annotations

from itertools import islice
from typing import Any

from pydantic import Field
from rich.progress import Progress

from nsmt.commands.language_steps.subject import Add, Subject, once
from nsmt.data.monolingual import paragraphs, part_of
from nsmt.errors import DataError
from nsmt.settings import Count, Settings
from nsmt.steering.interventions import LanguageNeurons


class FertilitySettings(Settings):
    """How much text is counted."""

    paragraphs: Count = Field(256, description="held-out ones of each language, at most")


def fertility_step(
    subject: Subject,
    neurons: LanguageNeurons,
    settings: FertilitySettings,
    *,
    bar: Progress,
    add: Add,
) -> dict[str, Any]:
    """{language: {characters, tokens}} of held-out text, without line ends."""

    def measure() -> dict[str, Any]:
        task = add("fertility", total=len(subject.languages))
        found = {}
        for language in subject.languages:
            texts = part_of(paragraphs(subject.text, language, cache=subject.downloads), "held_out")
            if not (some := list(islice(texts, settings.paragraphs))):
                raise DataError(
                    f"no text of '{language}' is held out",
                    fix="give eight paragraphs or more, or leave fertility out of steps",
                )
            ids = subject.model.tokenizer(some, add_special_tokens=False)["input_ids"]
            found[language] = {"characters": sum(map(len, some)), "tokens": sum(map(len, ids))}
            bar.update(task, advance=1, status=language)
        return found

    return once(subject, "fertility", neurons, settings, measure)
