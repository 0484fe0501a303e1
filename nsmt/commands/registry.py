"""The sub-commands of `nsmt`: each a schema and a function, imported when they are needed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from nsmt.settings import Settings


@dataclass(frozen=True, slots=True)
class Command:
    """A sub-command: its root in `conf/`, where its schema and function are, and a line of help.

    Their module is imported when it is needed: help is quick, and worker processes, which import
    the script that started them, stay small.
    """

    root: str
    module: str
    schema_name: str
    function: str
    summary: str
    # For a command whose words are not all its own: what parts them, a function of its module.
    reader: str | None = None
    # A choice for each group that has no default: what `--help` shows where the words choose none.
    example: tuple[str, ...] = ()

    @property
    def schema(self) -> type[Settings]:
        """The schema of the composed configuration."""
        found: type[Settings] = getattr(self._imported(), self.schema_name)
        return found

    @property
    def run(self) -> Callable[[Any], object]:
        """What takes the checked configuration."""
        found: Callable[[Any], object] = getattr(self._imported(), self.function)
        return found

    def read(self, words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
        """The command's own words, and those that it hands on to the runs that it starts."""
        if self.reader is None:
            return list(words), ()
        own, handed_on = getattr(self._imported(), self.reader)(words)
        return own, handed_on

    def _imported(self) -> ModuleType:
        return importlib.import_module(f"nsmt.commands.{self.module}")


COMMANDS = {
    "train": Command(
        "train", "train", "RunConfig", "train", "the main job: prepare, train, test, report"
    ),
    "prepare": Command(
        "train", "prepare", "RunConfig", "prepare_corpus", "make the corpus of data=… and stop"
    ),
    "data stats": Command(
        "data_stats", "data", "StatsConfig", "stats", "what a prepared corpus holds"
    ),
    "data sample": Command(
        "data_sample", "data", "SampleConfig", "sample", "pairs as the model sees them"
    ),
    "identify": Command(
        "identify",
        "identify",
        "IdentifyConfig",
        "identify",
        "find the neurons of a checkpoint's directions",
    ),
    "identify languages": Command(
        "languages",
        "identify_languages",
        "LanguagesConfig",
        "identify_languages",
        "the same of a language model; meant by identify language_model=…",
    ),
    "evaluate": Command(
        "evaluate",
        "evaluate",
        "EvaluateConfig",
        "evaluate",
        "score a run, a checkpoint or published outputs",
    ),
    "report": Command(
        "report", "report", "ReportConfig", "report_run", "write a run's tables and page again"
    ),
    "probe": Command(
        "probe", "probe", "ProbeConfig", "probe", "what the neurons of a run's models do"
    ),
    "sweep table": Command(
        "sweep_table",
        "sweep_table",
        "SweepTableConfig",
        "sweep_table",
        "all runs of a sweep in one table, with a figure for each swept key",
    ),
    "reproduce": Command(
        "reproduce",
        "reproduce",
        "ReproduceConfig",
        "reproduce",
        "run, go on with or collect a table of the paper: reproduce table2 scale=bible8",
        reader="reproduce_words",
        example=("table=table2", "scale=bible8"),
    ),
    "languages": Command(
        "languages",
        "languages",
        "LanguagesConfig",
        "languages",
        "the language neurons of a language model, found and switched",
    ),
    "bench": Command(
        "bench", "bench", "BenchConfig", "bench", "measure speed against a peer, in one run"
    ),
}

# What only a language model's configuration has.
_OF_LANGUAGE_MODELS = {"language_model", "experiment"}


def meant(name: str, words: Sequence[str]) -> str:
    """The command that is meant: `identify` of a language model has another configuration."""
    keys = {word.partition("=")[0].partition(".")[0] for word in words}
    return "identify languages" if name == "identify" and keys & _OF_LANGUAGE_MODELS else name
