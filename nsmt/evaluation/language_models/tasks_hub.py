"""Examples of tasks out of data sets of the Hugging Face hub, or of folders laid out as these are.

| task | data set | configuration | split | columns that are read |
|---|---|---|---|---|
| translation | openlanguagedata/flores_plus | deu_Latn | devtest | id, text |
| comprehension | facebook/belebele | deu_Latn | test | those of its files |
| answering | google/xquad | xquad.de | validation | context, question, answers |
| inference | facebook/xnli | de | test | premise, hypothesis, label |

Sources: the cards (README.md) of facebook/belebele, google/xquad (answers is a struct of lists) and
facebook/xnli (label is a class: entailment, neutral, contradiction). FLORES+ has to be asked for;
a row of it is described as {id, iso_639_3, iso_15924, glottocode, text, …}, and the change log of
openlanguagedata/flores says that zho_Hans is cmn_Hans there, tgl_Latn is fil_Latn and est_Latn is
ekk_Latn, that it mended sentences of the devtest of, among others, Spanish, Urdu, Nepali,
Lithuanian and Tibetan, and that it updated Norwegian: its scores are not quite those of FLORES-200.
The latter, facebook/flores, is a script, which `datasets` has not run since its version 4
(huggingface/datasets issue 7693).

Rows are streamed: of the split, and nothing else. The hub was not reached by us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, Final

from pydantic import Field

from nsmt.data.datasets_library import datasets_library
from nsmt.errors import DataError
from nsmt.evaluation.language_models.tasks import (
    Example,
    MissingLanguageError,
    TaskName,
    asked,
    chosen,
    inferred,
    translated,
)
from nsmt.languages import CATALOGUE
from nsmt.settings import Settings

# Stand for the language's code, and for its code in FLORES-200.
_CODE: Final = "LANGUAGE"
_FLORES: Final = "FLORES"
_COLUMNS: Final[dict[TaskName, tuple[str, ...]]] = {
    "translation": ("id", "text"),
    "comprehension": (
        "flores_passage",
        "question",
        *(f"mc_answer{number}" for number in range(1, 5)),
        "correct_answer_num",
    ),
    "answering": ("context", "question", "answers"),
    "inference": ("premise", "hypothesis", "label"),
}
Row = Mapping[str, Any]


class HubSet(Settings):
    """A data set of the hub, or a folder, whose rows are the examples of a task."""

    dataset: str = Field(description="name on the hub, or a folder")
    config: str = Field(
        pattern=f"{_CODE}|{_FLORES}",
        description="configuration, with LANGUAGE for the code or FLORES for that of FLORES-200",
    )
    split: str
    revision: str | None = Field(None, description="a commit, which pins the rows; null: newest")
    codes: dict[str, str] = Field(
        default_factory=dict, description="the set's code by language, where it is another"
    )

    def config_of(self, language: str) -> str:
        """The name of a language's configuration."""
        own = self.codes.get(language)
        flores = own or CATALOGUE[language].flores
        return self.config.replace(_CODE, own or language).replace(_FLORES, flores)


class HubSets(Settings):
    """The data set of each task."""

    translation: HubSet = HubSet(
        dataset="openlanguagedata/flores_plus",
        config="FLORES",
        split="devtest",
        codes={"zh": "cmn_Hans", "tl": "fil_Latn", "et": "ekk_Latn"},
    )
    comprehension: HubSet = HubSet(dataset="facebook/belebele", config="FLORES", split="test")
    answering: HubSet = HubSet(dataset="google/xquad", config="xquad.LANGUAGE", split="validation")
    inference: HubSet = HubSet(dataset="facebook/xnli", config="LANGUAGE", split="test")


def hub_examples(task: TaskName, sets: HubSets, language: str) -> list[Example]:
    """A task's examples in a language, the same as out of its authors' files.

    They are read once a process, so that what was found before any work is what is used.

    Raises:
        ConfigurationError: the library `datasets` is missing.
        MissingLanguageError: the set has no configuration of the language.
        DataError: the set cannot be reached, or its rows are others.
    """
    try:
        rows = _rows_of(task, sets, language)
        match task:
            case "translation":
                return _translations(_english(sets), rows, language)
            case "comprehension":
                return [chosen(row) for row in rows]
            case "answering":
                texts = [row["answers"]["text"] for row in rows]
                pairs = zip(rows, texts, strict=True)
                return [asked(row["context"], row["question"], each) for row, each in pairs]
            case "inference":
                return [inferred(row["premise"], row["hypothesis"], row["label"]) for row in rows]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"rows of {getattr(sets, task).dataset} in '{language}' are no examples of {task}: "
            f"{error!r}",
            fix=f"correct tasks.hub.{task}.dataset or revision, or leave {task} out of tasks.names",
        ) from error


def _english(sets: HubSets) -> Sequence[Row]:
    try:
        return _rows_of("translation", sets, "en")
    except MissingLanguageError as error:
        # Not a language to be left out.
        raise DataError(error.problem, fix="correct tasks.hub.translation") from None


def _translations(english: Sequence[Row], rows: Sequence[Row], language: str) -> list[Example]:
    """Rows of the same id are one sentence."""
    sources = {row["id"]: row["text"] for row in english}
    targets = {row["id"]: row["text"] for row in rows}
    if sources.keys() != targets.keys():
        raise ValueError(f"{len(sources)} sentences in English, {len(targets)} or others here")
    return [translated(source, targets[row], language) for row, source in sources.items()]


def _rows_of(task: TaskName, sets: HubSets, language: str) -> Sequence[Row]:
    where: HubSet = getattr(sets, task)
    config = where.config_of(language)
    if config not in _configs(task, where.dataset, where.revision):
        raise MissingLanguageError(f"{where.dataset} (configuration '{config}')", language)
    return _rows(task, where.dataset, config, where.split, where.revision)


@cache
def _configs(task: TaskName, dataset: str, revision: str | None) -> frozenset[str]:
    library = _library()
    with _reaching(library, task, dataset):
        return frozenset(library.get_dataset_config_names(dataset, revision=revision))


@cache
def _rows(
    task: TaskName, dataset: str, config: str, split: str, revision: str | None
) -> Sequence[Row]:
    """The columns of a task, none of them empty; classes by name, a ValueError without one."""
    library, what = _library(), f"'{config}' of {dataset}"
    with _reaching(library, task, what):
        streamed = library.load_dataset(
            dataset, config, split=split, revision=revision, streaming=True
        )
        rows = list(streamed)
    if not rows:
        raise DataError(f"{what} has no rows", fix=f"correct tasks.hub.{task}.split")
    return tuple(_row(task, what, row, streamed.features or {}) for row in rows)


def _row(task: TaskName, what: str, row: Row, features: Mapping[str, Any]) -> Row:
    if missing := [column for column in _COLUMNS[task] if row.get(column) is None]:
        raise DataError(
            f"{what} has no column '{missing[0]}', or nothing in it, among {', '.join(row)}",
            fix=f"set tasks.hub.{task}.dataset or revision to one that has "
            f"{', '.join(_COLUMNS[task])}",
        )
    found = {column: row[column] for column in _COLUMNS[task]}
    for column in found:
        if name_of := getattr(features.get(column), "int2str", None):
            found[column] = name_of(found[column])
    return found


def _library() -> ModuleType:
    return datasets_library("tasks.source=hub", instead="tasks.source=files")


@contextmanager
def _reaching(library: ModuleType, task: TaskName, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, library.exceptions.DatasetsError) as error:
        raise DataError(
            f"{what} cannot be read: {' '.join(str(error).split())}",
            fix=f"correct dataset, config, split or revision of tasks.hub.{task}, log in where it "
            "is gated, give a folder as its dataset, or use tasks.source=files",
        ) from error
