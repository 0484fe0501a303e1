"""What a reproduction trains: conditions, methods and seeds, as words of `train --multirun`.

A table is two sweeps a condition: base runs (the dense model and the control, one a seed), then
seeds x methods. A condition whose changes leave the dense model and the control as they are takes
both over from the base runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from pydantic import Field

from nsmt.commands.compose import checked_overrides, composed, conf_folder
from nsmt.commands.config import PathSettings, RunConfig
from nsmt.commands.sweep_launch import quoted
from nsmt.commands.train import decided
from nsmt.errors import ConfigurationError, did_you_mean
from nsmt.evaluation.comet import CometSettings
from nsmt.evaluation.zero_shot import ZeroShotSettings
from nsmt.methods import CONTROL, NOT_PROBED, SEEN_ONLY
from nsmt.settings import Settings

ROOT: Final = "train"
# The condition that every table has, the scale's experiment as it is, and what it is called.
PLAIN: Final = ""
AS_IT_IS: Final = "as it is"
TableName = Literal[
    "table1", "table2", "table3", "table4", "table11", "study", "k", "zero_shot", "probes"
]
UNSEEN: Final = "zero_shot"
PROBED: Final = "probes"
Seed = Annotated[int, Field(ge=0, lt=2**32)]

# What a reproduction decides itself, and how that is chosen.
_DECIDED: Final = {
    "seed": "seeds=[…]",
    "method": "methods=[…]",
    "experiment": "scale=…",
    "resume": "the same command, which goes on",
    "resume_changes": "the same command, which goes on",
    "hparams_search": "methods=[…] and seeds=[…]",
    "hydra/sweeper": "methods=[…] and seeds=[…]",
    "hydra.mode": "nothing: it is a sweep",
    "hydra.sweep.dir": "paths.runs=…",
}


class ConditionSettings(Settings):
    """A change to the scale's experiment under which methods are compared with the control."""

    experiments: tuple[str, ...] = Field((), description="files of conf/experiment on top")
    overrides: tuple[str, ...] = Field((), description="words of the command line")
    changes: tuple[str, ...] | None = Field(
        None,
        description="the keys that it changes, where none of them changes the dense model and the "
        "control: these are then taken over from the base runs",
    )
    place: str | None = Field(None, description="a number, to draw gains against")


class TableSettings(Settings):
    """A choice of `conf/table`: rows, conditions, and which tables are made of them."""

    title: str
    tables: tuple[TableName, ...]
    methods: tuple[str, ...] = Field(description="rows, after the dense model and the control")
    seeds: tuple[Seed, ...] | None = Field(None, description="null: those of the scale")
    study: bool = Field(default=False, description="add the conditions of the scale's study")
    conditions: dict[str, ConditionSettings] = Field(default_factory=dict)
    condition_methods: tuple[str, ...] = Field((), description="rows of the conditions")
    number: str = Field("", description="what the places of the conditions are")
    probe: tuple[str, ...] = Field((), description="words of nsmt probe, for the table probes")


class ScaleSettings(Settings):
    """A choice of `conf/scale`: an experiment, its seeds, and what its study changes."""

    name: str
    experiment: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[Seed, ...] = (1, 2, 3)
    paper: Literal["ec30", "iwslt14"] | None = Field(
        None, description="which of the paper's corpora and models it has; null: none"
    )
    study: dict[str, ConditionSettings] = Field(default_factory=dict)
    zero_shot: ZeroShotSettings = Field(ZeroShotSettings(), description="of the table zero_shot")


class ReproduceConfig(Settings):
    """All of `nsmt reproduce`; keys that are not here go to every run."""

    table: TableSettings
    scale: ScaleSettings
    methods: tuple[str, ...] | None = Field(None, description="rows; null: those of the table")
    seeds: tuple[Seed, ...] | None = Field(None, description="null: those of the table or scale")
    conditions: tuple[str, ...] | None = Field(
        None, min_length=1, description="by the names that check=true lists; null: all of them"
    )
    collect: bool = Field(default=False, description="train nothing, read what is there")
    check: bool = Field(default=False, description="say what would be run, and end")
    comet: CometSettings = Field(description="scores every run, if an environment is given")
    output: str | None = Field(None, description="null: below paths.runs")
    runs: tuple[str, ...] = Field((), description="words for every run, from the command line")
    paths: PathSettings


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition with its rows in order; `methods` are those that this version has.

    `base` says that it trains a dense model and a control of its own.
    """

    name: str
    settings: ConditionSettings
    rows: tuple[str, ...]
    methods: tuple[str, ...]
    base: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one reproduction trains."""

    scale: ScaleSettings
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]

    @property
    def plain(self) -> Condition:
        """The condition of the scale as it is."""
        return self.conditions[0]

    def sweeps(self) -> Iterator[list[str]]:
        """The words of each sweep, in the order in which they are to be run."""
        seeds = ",".join(map(str, self.seeds))
        for condition in self.conditions:
            common = self._words(condition)
            if condition.base:
                yield [*common, f"method={CONTROL}", f"seed={seeds}"]
            if not condition.methods:
                continue
            methods = f"method={','.join(condition.methods)}"
            if condition.settings.changes is None:
                yield [*common, f"seed={seeds}", methods]
                continue
            # Every seed has a base run of its own to take over from.
            for seed in self.seeds:
                yield [*common, *self._taking_over(condition, seed), f"seed={seed}", methods]

    def config(self, condition: Condition, method: str, seed: int) -> RunConfig:
        """The configuration of a row's run; ConfigurationError if there is no such run."""
        words = [*_composable(self._words(condition)), f"method={method}"]
        return decided(_composed(tuple(words)).model_copy(update={"seed": seed}))

    def folder(self, condition: Condition, method: str, seed: int) -> Path:
        """Where the run of a row is, or will be."""
        return self.config(condition, method, seed).folder

    def base(self, seed: int) -> Path:
        """The base run of a seed, under the plain condition."""
        return self.folder(self.plain, CONTROL, seed)

    def _words(self, condition: Condition) -> list[str]:
        files = (self.scale.experiment, *condition.settings.experiments)
        chosen = f"experiment=[{','.join(files)}]" if len(files) > 1 else f"experiment={files[0]}"
        # What a condition is about stands, whatever else is given.
        return [chosen, *self.scale.overrides, *self.runs, *condition.settings.overrides]

    def _taking_over(self, condition: Condition, seed: int) -> list[str]:
        changes = ",".join(("method", *(condition.settings.changes or ())))
        return [f"resume={quoted(str(self.base(seed)))}", f"resume_changes=[{changes}]"]


def plan_of(config: ReproduceConfig) -> Plan:
    """The conditions, rows and seeds that a configuration asks for."""
    table, scale = config.table, config.scale
    _require_free(config.runs)
    seeds = config.seeds or table.seeds or scale.seeds
    known = _known_methods()
    if config.methods is not None and (unknown := set(config.methods) - set(known)):
        # Said with the nearest right name.
        checked_overrides(ROOT, [f"method={name}" for name in sorted(unknown)], RunConfig)
    wanted = asked_conditions(config)
    # Those that leave the dense model and the control as they are take both from the plain one.
    shared = any(settings.changes is not None for settings in wanted.values())
    conditions = []
    for name, settings in ({PLAIN: ConditionSettings()} | wanted).items():
        rows = table.methods if name == PLAIN else table.condition_methods
        if config.methods is not None:
            rows = tuple(m for m in config.methods if name == PLAIN or m in rows)
        rows = tuple(row for row in dict.fromkeys(rows) if row != CONTROL)
        if name not in wanted:
            rows = ()
        elif not rows and name != PLAIN and config.conditions is not None:
            raise ConfigurationError(
                f"no row of '{name}' is among methods=[{','.join(config.methods or ())}]",
                fix=f"its rows are {', '.join(table.condition_methods)}",
            )
        if UNSEEN in table.tables:
            _require_able(rows, SEEN_ONLY, "no unseen direction can be translated by")
        if PROBED in table.tables:
            _require_able(rows, NOT_PROBED, "nothing can be probed in")
        there = tuple(row for row in rows if row in known)
        base = settings.changes is None and (name in wanted or shared)
        conditions.append(Condition(name, settings, rows, there, base))
    return Plan(scale, tuple(conditions), tuple(sorted(set(seeds))), config.runs)


def asked_conditions(config: ReproduceConfig) -> dict[str, ConditionSettings]:
    """The conditions that are asked for, in the order of table and scale.

    ConfigurationError if there is none of a name.
    """
    named = {AS_IT_IS: ConditionSettings()} | dict(config.table.conditions)
    named |= dict(config.scale.study) if config.table.study else {}
    asked = named if config.conditions is None else config.conditions
    if strangers := [name for name in asked if name not in named]:
        hint = did_you_mean(strangers[0], named)
        raise ConfigurationError(
            f"no condition of {config.table.title} at scale {config.scale.name}: "
            f"{', '.join(strangers)}",
            fix=f"{hint}its conditions are {', '.join(named)}",
        )
    return {PLAIN if n == AS_IT_IS else n: of for n, of in named.items() if n in asked}


@cache
def _composed(words: tuple[str, ...]) -> RunConfig:
    """Once for all seeds."""
    return composed(ROOT, words, RunConfig)


def _known_methods() -> list[str]:
    return sorted(path.stem for path in (conf_folder() / "method").glob("*.yaml"))


def _composable(words: Sequence[str]) -> list[str]:
    """Without what only says where runs are started."""
    return [word for word in words if not word.lstrip("+").startswith(("launcher", "hydra"))]


def _require_able(rows: Sequence[str], unable: Mapping[str, str], what: str) -> None:
    """Refuse rows that cannot be in the table, before they are trained."""
    if lacking := [f"{row}: {unable[row]}" for row in rows if row in unable]:
        raise ConfigurationError(
            f"{what} {'; '.join(lacking)}",
            fix="leave it out of methods=[…]",
        )


def _require_free(words: Sequence[str]) -> None:
    """Refuse words that a reproduction decides itself, and further sweeps."""
    faults = []
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if key in _DECIDED:
            faults.append(f"{word} is decided by the reproduction; choose by {_DECIDED[key]}")
    checked_overrides(ROOT, words, RunConfig)
    faults += [
        f"{override.input_line} is a sweep of its own; give one value"
        for override in OverridesParser.create().parse_overrides(list(words))
        if override.is_sweep_override()
    ]
    if faults:
        listed = "\n".join(f"  - {fault}" for fault in faults)
        raise ConfigurationError(f"not for every run:\n{listed}", fix="leave these out")
