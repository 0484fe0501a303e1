"""The configuration of a whole run: every room's settings joined, and how one is read.

Hydra composes the YAML of `conf/`; pydantic checks the result against these schemas, all faults at
once, each by the name of its key (design contract 9).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationError

from nsmt.data.plan import BatchSettings
from nsmt.data.sources import DataSettings
from nsmt.errors import DataError
from nsmt.evaluation.scoring import DEFAULT_TOKENIZER, Tokenizer
from nsmt.methods import AnyMethod
from nsmt.models.decoding import DecodingSettings
from nsmt.models.settings import ModelSettings
from nsmt.neurons.selection import Percent, SelectionSettings
from nsmt.settings import Count, Settings
from nsmt.training.settings import (
    STANDS_FOR,
    CallbackSettings,
    DivergenceSettings,
    LoggerSettings,
    OptimizerSettings,
    ScheduleSettings,
    StageKey,
    StateSettings,
    TrainerSettings,
)
from nsmt.training.trainer import packs

# Settings of the trainer that say who computes, not what.
_HANDS = {"devices", "num_nodes", "strategy", "threads", "background"}


def _no_home(place: str) -> str:
    if place.startswith("~"):
        raise ValueError("~ is not expanded here: write $HOME")
    return place


# A folder that nsmt writes into; an empty one would be the working directory.
Place = Annotated[str, Field(min_length=1, max_length=4000), AfterValidator(_no_home)]


class PathSettings(Settings):
    """Where runs, prepared corpora and downloads are kept."""

    runs: Place = "runs"
    corpora: Place = "corpora"
    downloads: Place = "downloads"


class ScoringSettings(Settings):
    """How the test sets are scored and compared."""

    bootstrap_samples: Count = Field(1000, description="paired bootstrap resamples")
    seed: int = 12345
    tokenizer: Tokenizer = Field(
        DEFAULT_TOKENIZER, description="of BLEU, by sacreBLEU; flores200 is spBLEU"
    )


class ReportSettings(Settings):
    """What the report shows."""

    overlap_k: Percent = Field(
        70.0, description="k of the sets whose overlap is drawn; the paper's figures use 70"
    )
    samples: Annotated[int, Field(ge=0)] = Field(1, description="translations shown a direction")


class RunConfig(Settings):
    """All of `python train.py`."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100, description="first half of the folder"
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    check: bool = Field(default=False, description="validate and build on the meta device only")
    resume: str = Field(
        "auto",
        description="auto: go on where this run stands; never: start it again; must: go on or "
        "fail; else the folder of a run whose stages this one takes over",
    )
    resume_changes: tuple[str, ...] = Field(
        (), description="keys in which a run that is taken over may differ"
    )
    data: DataSettings
    model: ModelSettings
    method: AnyMethod
    schedule: ScheduleSettings
    selection: SelectionSettings
    optimizer: OptimizerSettings
    batch: BatchSettings
    trainer: TrainerSettings
    logger: LoggerSettings
    callbacks: CallbackSettings
    states: StateSettings
    divergence: DivergenceSettings
    decoding: DecodingSettings
    test: ScoringSettings
    report: ReportSettings
    paths: PathSettings

    def identity(self) -> dict[str, Any]:
        """What decides the numbers: not where things are kept, shown or tracked."""
        presentation = {"check", "paths", "logger", "report", "states", "data"}
        presentation |= {"resume", "resume_changes"}
        # Whoever takes part in an update, it is the same but for rounding.
        parts: dict[str, Any] = {"callbacks": {"progress", "log_every"}, "trainer": _HANDS}
        decisive = self.model_dump(mode="json", exclude=dict.fromkeys(presentation, True) | parts)
        served = packs(self.trainer, self.model)
        batch = self.batch.on(self.trainer.accelerator, packs=served).model_dump(mode="json")
        trained = self.schedule.trained(self.method.parts)
        _leave_out_idle(decisive["schedule"], parts=self.method.parts, trained=trained)
        # Runs from before there was a choice keep their names.
        if self.test.tokenizer == DEFAULT_TOKENIZER:
            del decisive["test"]["tokenizer"]
        if self.model.norm == "pre":
            del decisive["model"]["norm"]
        # The corpus knows what decides its bytes; how they are sampled is the run's own.
        return decisive | {"batch": batch, "data": self.data.identity() | self.data.sampling()}

    @property
    def run_name(self) -> str:
        """The name and a hash of the resolved configuration and seed."""
        text = json.dumps(self.identity(), sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"

    @property
    def folder(self) -> Path:
        """The run's folder: the same command comes back to the same place."""
        return Path(self.paths.runs) / self.run_name

    def lock(self, who: str) -> Path:
        """The file by which processes that work on this run take turns."""
        return lock_of(self.folder, who)


def _leave_out_idle(
    schedule: dict[str, Any], *, parts: str | None, trained: Collection[StageKey]
) -> None:
    """Take out of the schedule what trains nothing in a run; `parts` are the method's own models.

    So runs of other methods share the dense model and the control with them, and runs from before
    there was a choice keep their names.
    """
    for key in {"separate", "tuning"} - {parts}:
        del schedule[key]
    # A model of the method's own takes what it does not have from the stage, be it trained or not.
    needed = {STANDS_FOR.get(key, key) for key in trained}
    for stage in ("dense", "specialise"):
        own = schedule[stage]
        for key in ("patience", "tokens", "per_update"):
            idle = key != "patience" and stage not in needed
            if idle or own[key] is None:
                del own[key]


def lock_of(folder: Path, who: str) -> Path:
    """The same for a run's folder."""
    return folder.parent / f".{folder.name}.{who}.lock"


def recorded_config(folder: Path, record: Mapping[str, Any]) -> RunConfig:
    """The configuration of a finished run, from its certificate; DataError if there is none."""
    if "stages" not in record:
        raise DataError(
            f"{folder} holds no finished run", fix="train first: python train.py experiment=…"
        )
    return begun_config(folder, record)


def begun_config(folder: Path, record: Mapping[str, Any]) -> RunConfig:
    """The same of a run that was begun; DataError if it is another release's."""
    try:
        return RunConfig.model_validate_json(json.dumps(record["config"]))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{folder} was made by nsmt {record.get('nsmt')}, whose configuration this one does "
            f"not read: {key}: {first['msg']}",
            fix=f"use that version (commit {record.get('commit')}), train the run again, or leave "
            "it out",
        ) from None
