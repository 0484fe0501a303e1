"""Where metrics go: metrics.csv always, TensorBoard or W&B where asked for.

A run is one run of W&B, whatever stages it has and however often it was resumed: its id is the name
of the run folder, which holds the hash of the configuration (pitfall 8). Jobs of a sweep are a
group.
"""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from nsmt.errors import NsmtError
from nsmt.training.settings import LoggerSettings
from nsmt.training.states import StageState

_STEP: Final = "trainer/global_step"
_PACKAGES: Final = {"tensorboard": 'pip install "nsmt[tensorboard]"', "wandb": "pip install wandb"}


class TrackingError(NsmtError):
    """A tracker that cannot be used as it is set."""


def missing_tracker(settings: LoggerSettings) -> str | None:
    """What to install for the tracker that was chosen; None if it is there."""
    if settings.kind not in _PACKAGES or find_spec(settings.kind) is not None:
        return None
    return f"logger={settings.kind} needs a package: {_PACKAGES[settings.kind]}"


@contextmanager
def open_loggers(
    settings: LoggerSettings, *, folder: Path, stage: str, state: StageState | None = None
) -> Iterator[list[Logger]]:
    """The loggers of one stage; always closed.

    With the state of a stage that goes on, they go on too.
    """
    table = CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
    if state is not None:
        # It writes a new file; these rows come first.
        for row in csv.DictReader(io.StringIO(state.metrics)):
            table.experiment.metrics.append({key: value for key, value in row.items() if value})
    loggers: list[Logger] = [table]
    if settings.kind == "tensorboard":
        # What was logged after the state is hidden.
        since = None if state is None else state.update + 1
        loggers.append(TensorBoardLogger(folder, name="", version="tensorboard", purge_step=since))
    if settings.kind == "wandb":
        loggers.append(_StageLogger(prefix=stage))
    status = "failed"
    try:
        yield loggers
        status = "success"
    finally:
        for logger in loggers:
            logger.finalize(status)


@contextmanager
def tracked(
    settings: LoggerSettings, *, run: str, folder: Path, config: Mapping[str, Any], first: bool
) -> Iterator[None]:
    """Within the block, the first rank's stages log to one run of W&B, if that was chosen.

    At the end it is closed, as failed if the block fails.
    """
    if settings.kind != "wandb" or not first:
        yield
        return
    _open_wandb(settings, run=run, folder=folder, config=config)
    status = 1
    try:
        yield
        status = 0
    finally:
        sys.modules["wandb"].finish(exit_code=status)


class _StageLogger(WandbLogger):
    """Metrics of one stage in the run that is open, as STAGE/train/nll."""

    LOGGER_JOIN_CHAR = "/"


def _open_wandb(
    settings: LoggerSettings, *, run: str, folder: Path, config: Mapping[str, Any]
) -> None:
    import wandb  # slow to import, and only some runs want it

    keyless = "WANDB_API_KEY" not in os.environ
    offline = keyless if settings.offline is None else settings.offline
    folder.mkdir(parents=True, exist_ok=True)
    try:
        opened = wandb.init(
            id=run,
            name=run,
            group=settings.group,
            project=settings.project,
            dir=folder,
            config=dict(config),
            mode="offline" if offline else "online",
            resume="allow",
        )
    except wandb.errors.Error as error:
        raise TrackingError(
            f"W&B does not open a run: {str(error).splitlines()[0] if str(error) else error!r}",
            fix="set logger.offline=true and upload later by `wandb sync`, or choose logger=csv",
        ) from None
    # Stages count their updates each from 0, so the updates are an axis of their own.
    opened.define_metric(_STEP)
    opened.define_metric("*", step_metric=_STEP)
