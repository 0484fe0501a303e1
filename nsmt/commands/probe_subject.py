"""The finished run that probes look at: its corpus, its models, and why one cannot be probed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nsmt.commands.config import RunConfig, recorded_config
from nsmt.commands.fit import recorded_corpus
from nsmt.data.corpus import Corpus
from nsmt.errors import DataError
from nsmt.evaluation.groups import Group, groups_of, table_order
from nsmt.files import sha256
from nsmt.languages import Direction
from nsmt.manifest import verified_manifest
from nsmt.methods import CONTROL, DENSE, NOT_PROBED
from nsmt.models.checkpoint import TrainedModel, load_checkpoint
from nsmt.models.systems import CHECKPOINT
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import select
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.records import read_record
from nsmt.training.schedule import IDENTIFICATION, STATISTICS
from nsmt.training.trainer import device_of

NO_IDENTIFICATION: Final = "the run identified no neurons: it trained a dense model alone"
NO_MASKS: Final = "it has no masks"


@dataclass
class Subject:
    """A finished run with its corpus opened; models and statistics are read when asked for."""

    folder: Path
    run: RunConfig
    record: dict[str, Any]
    corpus: Corpus
    device: str

    @property
    def pivot(self) -> str:
        """The language that all others are paired with."""
        return self.corpus.pivot

    @cached_property
    def directions(self) -> list[Direction]:
        """All directions in table order."""
        return table_order(self.corpus.directions, self.corpus.languages, pivot=self.pivot)

    @cached_property
    def groups(self) -> list[Group]:
        """All directions of the pivot, those out of it and those into it; empty ones left out."""
        groups = groups_of(self.directions, self.corpus.languages, pivot=self.pivot)
        return [group for group in groups if group.kind in ("all", "side")]

    @property
    def method(self) -> str | None:
        """The stage that specialises, if the run has one."""
        return next((name for name in self.stages if name not in (DENSE, CONTROL)), None)

    @property
    def stages(self) -> list[str]:
        """The systems of the run, in the order of a table's rows."""
        return list(self.record["stages"])

    def refused(self, stage: str) -> str | None:
        """Why a system is not probed at all; None if it is."""
        return NOT_PROBED.get(stage)

    @property
    def models(self) -> list[str]:
        """The systems that are one model."""
        return [name for name in self.stages if self.refused(name) is None]

    def skipped(self) -> dict[str, str]:
        """The systems that are not, with the reason."""
        reasons = {name: self.refused(name) for name in self.stages}
        return {name: reason for name, reason in reasons.items() if reason is not None}

    def load(self, stage: str) -> TrainedModel:
        """One of the models, verified, on the device."""
        trained = load_checkpoint(self.folder / stage / CHECKPOINT)
        trained.model.to(self.device)
        return trained

    def weights(self, stage: str) -> dict[str, str]:
        """What a model is made of: the sha256 of each of its files."""
        return verified_manifest(self.folder / stage / CHECKPOINT, required=())

    @cached_property
    def statistics(self) -> ActivationStatistics | None:
        """What fired on the validation sets in the dense model, if the run counted."""
        path = self._statistics_path
        return ActivationStatistics.load(path) if path.is_file() else None

    @property
    def statistics_digest(self) -> str | None:
        """The sha256 of their file."""
        path = self._statistics_path
        return sha256(path) if path.is_file() else None

    @property
    def _statistics_path(self) -> Path:
        return self.folder / IDENTIFICATION / STATISTICS

    def identified(self) -> NeuronAtlas:
        """The neurons of each direction by the run's own rule; a DataError without statistics."""
        if self.statistics is None:
            raise DataError(f"{self.folder}: {NO_IDENTIFICATION}", fix="train with two stages")
        return select(self.statistics, self.run.selection, pivot=self.pivot)


def opened(folder: Path, *, accelerator: str | None, progress: bool) -> Subject:
    """Open a finished run; a DataError if it is none, or if its corpus is not what it was."""
    record = read_record(folder)
    run = recorded_config(folder, record)
    corpus = recorded_corpus(folder, record, run, progress=progress)
    device = device_of(accelerator or run.trainer.accelerator)
    return Subject(folder, run, record, corpus, device)
