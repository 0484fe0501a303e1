"""The console script `nsmt`: sub-commands over one Hydra configuration; wiring alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nsmt.commands.compose import checked, checked_overrides, conf_folder
from nsmt.commands.failure import FAILURE, reporting_failures, show_failure
from nsmt.errors import NsmtError, PreemptionError
from nsmt.progress import console
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
    "bench": Command(
        "bench", "bench", "BenchConfig", "bench", "measure speed against a peer, in one run"
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `nsmt COMMAND [key=value …]`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_help())
        return
    with reporting_failures():
        for length in (2, 1):
            if (name := " ".join(words[:length])) in COMMANDS:
                _run(name, words[length:])
                return
        sys.stderr.write(f"error: unknown command '{words[0]}'\n{_help()}")
        sys.exit(2)


def _run(name: str, words: list[str]) -> None:
    command = COMMANDS[name]
    if "--check" in words and "check" in command.schema.model_fields:
        words = [word for word in words if word != "--check"] + ["check=true"]
    # What is no override is a flag of Hydra's own, or its value (--cfg job).
    flags = [word for word in words if "=" not in word and not word.startswith("~")]
    given = [word for word in words if word not in flags]
    overrides = checked_overrides(command.root, given, command.schema)

    failed: list[Sequence[str]] = []

    def task(config: DictConfig) -> None:
        # In a sweep, the jobs after one that failed still run.
        try:
            command.run(checked(config, command.schema))
        except PreemptionError as error:
            # Asked to stop, and not to go on with other jobs.
            show_failure(error)
            sys.exit(error.status)
        except NsmtError as error:
            show_failure(error)
            failed.append(HydraConfig.get().overrides.task)

    # Hydra reads the command line itself, so that its flags and sweeps work as everywhere.
    sys.argv = [name, *flags, *overrides]
    decorate = hydra.main(
        version_base="1.3", config_path=str(conf_folder().resolve()), config_name=command.root
    )
    decorate(task)()
    if failed:
        if {"-m", "--multirun"} & set(flags):
            for job in failed:
                console.print(f"failed: {' '.join(job)}", highlight=False, markup=False)
        sys.exit(FAILURE)


def _help() -> str:
    lines = [f"  {name:<13}{command.summary}" for name, command in COMMANDS.items()]
    return (
        "usage: nsmt COMMAND [key=value …]\n\n"
        + "\n".join(lines)
        + "\n\nnsmt COMMAND --help lists the groups and keys that can be chosen;\n"
        "nsmt train --check … validates a configuration without running it;\n"
        "nsmt train -m key=1,2,3 … runs a sweep.\n"
    )
