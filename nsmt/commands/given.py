"""What a run is given on disk: known by content, since a path may hold something else later."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from nsmt.errors import CheckpointError
from nsmt.models.checkpoint import fingerprint_of
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.training.settings import ScheduleSettings

# Where the certificate of a run has it.
GIVEN: Final = "given"


def given_inputs(schedule: ScheduleSettings) -> dict[str, str]:
    """The fingerprints of the checkpoint and the atlas that a schedule names, by key.

    Raises CheckpointError or AtlasError if they cannot be read.
    """
    found = {}
    if schedule.checkpoint is not None:
        found["schedule.checkpoint"] = fingerprint_of(Path(schedule.checkpoint))
    return found | given_atlas(schedule, key="schedule.atlas")


def given_atlas(schedule: ScheduleSettings, *, key: str) -> dict[str, str]:
    """The fingerprint of the atlas alone, under a key; nothing where none is named."""
    if schedule.atlas is None:
        return {}
    return {key: NeuronAtlas.load(Path(schedule.atlas)).fingerprint}


def changed_inputs(record: Mapping[str, Any], given: Mapping[str, str]) -> list[str]:
    """The keys whose content is not what a run was begun with; earlier releases wrote none down."""
    before = record.get(GIVEN, {})
    return [key for key in given if before.get(key, given[key]) != given[key]]


def require_same_inputs(record: Mapping[str, Any], given: Mapping[str, str], folder: Path) -> None:
    """Refuse to go on with a run that was given something else; a CheckpointError."""
    if changed := changed_inputs(record, given):
        raise CheckpointError(
            f"{folder} was begun with another content of {' and '.join(changed)}",
            fix="start it again with resume=never, or give this run a name of its own",
        )
