"""A model, text in some languages, and results that are kept for what decided them.

A folder whose files others must not replace is named by a short digest of what decides them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from nsmt.commands.kept_result import kept_result
from nsmt.data.monolingual import Part, TextSettings, contexts, paragraphs, part_of
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import replace_text
from nsmt.languages import Language
from nsmt.settings import Settings
from nsmt.steering.interventions import NOISY, Change, LanguageNeurons
from nsmt.steering.loading import LanguageModel
from nsmt.turns import taking_turns

# Adds a bar.
Add = Callable[..., TaskID]
# Raised whenever the same weights, text and settings give other results.
_VERSION = 2
# The same where noise is drawn.
_NOISE = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """A model, text in some languages, and where what is found of them is kept.

    `output` holds statistics and a folder of each atlas; for steps it is the latter. `known` tells
    of all languages, those of the text and others.
    """

    model: LanguageModel
    text: TextSettings
    languages: tuple[str, ...]
    output: Path
    downloads: Path
    known: Mapping[str, Language]

    def contexts(self, language: str, part: Part, **size: int) -> Any:  # noqa: ANN401
        """Contexts of a language's text, as `nsmt.data.monolingual.contexts` makes them."""
        texts = paragraphs(self.text, language, cache=self.downloads)
        return contexts(part_of(texts, part), self.model.tokenizer, **size)

    def require_positions(self, length: int, *, key: str) -> None:
        """A ConfigurationError for contexts that are longer than the model's positions.

        Some families have no limit.
        """
        limit = getattr(self.model.model.config, "max_position_embeddings", None)
        if limit is not None and length > limit:
            raise ConfigurationError(
                f"{key}={length} is more than the {limit} positions of {self.model.name}",
                fix=f"set {key} to {limit} or less",
            )

    def key(self, **more: object) -> dict[str, Any]:
        """What decides a result."""
        text = self.text.model_dump(mode="json", exclude={"archive"})
        return {"version": _VERSION, "model": self.model.fingerprint, "text": text} | more


def short_digest(key: object) -> str:
    """Eight digits by which a folder's name tells what decides its files."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder; each other folder is free."""
    with taking_turns(folder.parent / f".{folder.name}.lock"):
        yield


def held_out(subject: Subject, *, length: int, limit: int) -> dict[str, list[list[int]]]:
    """Contexts of each language's held-out text; a DataError if one has none."""
    found = {
        language: list(subject.contexts(language, "held_out", length=length, limit=limit))
        for language in subject.languages
    }
    if empty := [language for language, some in found.items() if not some]:
        raise DataError(
            f"there is no held-out context of {', '.join(empty)}",
            fix=f"give more text, or shorter contexts than {length} tokens, of {limit} in all",
        )
    return found


def decisive(settings: Settings) -> dict[str, Any]:
    """What decides a result of a step's settings.

    Without `rows`, contexts of a batch for the memory's sake, unless noise is drawn batch by batch.
    """
    changes = (value for _, value in settings if isinstance(value, Change))
    if any(change.operation in NOISY for change in changes):
        return settings.model_dump(mode="json") | {"noise": _NOISE}
    return settings.model_dump(mode="json", exclude={"rows"})


def once(
    subject: Subject,
    name: str,
    neurons: LanguageNeurons,
    settings: Settings,
    measure: Callable[[], dict[str, Any]],
    **more: str,
) -> dict[str, Any]:
    """The result that is kept for the same key, `more` of which only some have, or a new one."""
    made_by = subject.key(
        languages=subject.languages,
        neurons=neurons.atlas.fingerprint,
        statistics=hashlib.sha256(json.dumps(neurons.statistics.provenance).encode()).hexdigest(),
        settings=decisive(settings),
        **more,
    )
    key = json.loads(json.dumps(made_by))
    path = subject.output / "kept" / f"{name}-{short_digest(key)}.json"
    if (kept := kept_result(path, key)) is not None:
        found: dict[str, Any] = kept["result"]
        return found
    result = measure()
    try:
        text = json.dumps({"key": key, "result": result}, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise DataError(
            f"{name}: a likelihood is no finite number",
            fix="set language_model.dtype=float32 or bfloat16, or a smaller value or strength",
        ) from None
    replace_text(path, text + "\n")
    return result
