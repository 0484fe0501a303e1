"""`resume=…`: go on where a run stands, start it again, or take over the stages of another."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from nsmt.commands.config import RunConfig, begun_config, lock_of
from nsmt.commands.evaluations import EVALUATIONS
from nsmt.commands.given import changed_inputs
from nsmt.commands.translations import TRANSLATIONS, link_translations
from nsmt.data.corpus import Corpus
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import link_file, remove_unfinished, replace_folder
from nsmt.methods import CONTROL, DENSE, ContinueDense
from nsmt.models.systems import CHECKPOINT
from nsmt.records import RECORD, read_record
from nsmt.settings import changes
from nsmt.training.branches import MASKS_FOUND
from nsmt.training.schedule import IDENTIFICATION
from nsmt.training.states import STATES
from nsmt.training.world import launched
from nsmt.turns import taking_turns

_LOG = logging.getLogger(__name__)
_WORDS = ("auto", "never", "must")
_LEFT_BY_STAGES = (STATES, "metrics.csv", MASKS_FOUND)


def check_resume(config: RunConfig) -> None:
    """Raise a ConfigurationError where the run cannot begin as asked; before any work."""
    if config.resume == "never":
        if launched() and config.trainer.world > 1:
            raise ConfigurationError(
                "resume=never cannot be used where a launcher starts several ranks",
                fix=f"delete {config.folder} before the launch",
            )
    elif config.resume == "must":
        if not (config.folder / RECORD).is_file():
            raise ConfigurationError(
                f"resume=must, but nothing was begun in {config.folder}",
                fix="give the settings of the run to go on with, or resume=auto to begin one",
            )
    elif config.resume != "auto":
        _require_alike(config, Path(config.resume))


def begin(config: RunConfig) -> None:
    """Clear the run's folder if it is to start again, else of what was left half-written.

    In the first rank, under the run's lock.
    """
    # The ranks of a parent that was killed may still be at their last update.
    with taking_turns(config.lock("ranks")):
        if config.resume == "never":
            _delete(config.folder)
        for folder in (config.folder, *config.folder.rglob("*/")):
            # Others may be at work there.
            if EVALUATIONS not in folder.relative_to(config.folder).parts:
                remove_unfinished(folder)


def _delete(folder: Path) -> None:
    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
    except OSError as error:
        raise ConfigurationError(
            f"resume=never, but {folder} cannot be deleted: {error}",
            fix="delete it by hand, or give this run a name of its own",
        ) from error


def take_over(config: RunConfig, corpus: Corpus, given: Mapping[str, str]) -> None:
    """Have the stages of another run here too, unless this run has begun already.

    Those of the run that `resume` names; with resume=auto, what the control alone has made. `given`
    are the run's inputs, see `nsmt.commands.given`.
    """
    if (config.folder / RECORD).is_file():
        return
    if config.resume == "auto":
        _share(config, corpus, given)
    if config.resume in _WORDS:
        return
    other = Path(config.resume)
    if read_record(other)["data_fingerprint"] != corpus.fingerprint:
        raise DataError(
            f"{other} was trained on other text than {corpus.folder}",
            fix="prepare the corpus as it was for that run",
        )
    # It may be running.
    with taking_turns(lock_of(other.resolve(), "run")):
        for stage in sorted(other.iterdir()):
            if stage.name == IDENTIFICATION or _was_trained(stage):
                with replace_folder(config.folder / stage.name) as building:
                    shutil.copytree(stage, building, dirs_exist_ok=True)
                # Kept only for what made them, so other settings translate again.
                link_translations(other / TRANSLATIONS, stage.name, config.folder / TRANSLATIONS)


def _was_trained(folder: Path) -> bool:
    """Whether stages left something there, be it of models that a method has of its own."""
    if not folder.is_dir() or folder.name == EVALUATIONS:
        return False
    return any(next(folder.rglob(name), None) for name in _LEFT_BY_STAGES)


def control_of(config: RunConfig) -> RunConfig:
    """The same run with continue-dense alone, whose stages are those of every method."""
    return config.model_copy(update={"method": ContinueDense()})


def _share(config: RunConfig, corpus: Corpus, given: Mapping[str, str]) -> None:
    """Link what the control's own run has finished: runs of many methods train it once."""
    other = control_of(config).folder
    record = read_record(other)
    if other == config.folder or record.get("data_fingerprint") != corpus.fingerprint:
        return
    if changed_inputs(record, given):
        return
    # Whole folders, put in place at once and never written to again: it may be running.
    shared = [each for each in (DENSE, CONTROL) if (other / each / CHECKPOINT).is_dir()]
    for name in (*shared, IDENTIFICATION):
        if (other / name).is_dir():
            with replace_folder(config.folder / name) as building:
                for path in _finished_files(other / name):
                    link_file(path, building / path.relative_to(other / name))
    for name in shared:
        link_translations(other / TRANSLATIONS, name, config.folder / TRANSLATIONS)
    if shared:
        _LOG.info("%s are those of %s", " and ".join(shared), other)


def _finished_files(stage: Path) -> Iterator[Path]:
    """The files of a stage but for its states and trackers."""
    for path in sorted(stage.rglob("*")):
        inside = path.relative_to(stage).parts
        if path.is_file() and inside[0] not in (STATES, "tensorboard"):
            yield path


def _require_alike(config: RunConfig, other: Path) -> None:
    """Refuse to take over a run that was told something else, and show what."""
    record = read_record(other)
    if not record:
        words = ", ".join(_WORDS)
        raise ConfigurationError(
            f"resume={other} is neither one of {words} nor the folder of a run",
            fix=f"name a folder that holds {RECORD}",
        )
    theirs = begun_config(other, record).identity()
    allowed = list(config.resume_changes)
    if "method" in allowed:
        # They are there in runs of their methods alone.
        allowed += ["schedule.separate", "schedule.tuning"]
    changed = [
        f"  - {key}: {before} then, {now} now"
        for key, (before, now) in changes(theirs, config.identity()).items()
        if not any(key == each or key.startswith(f"{each}.") for each in allowed)
    ]
    if changed:
        raise ConfigurationError(
            f"{other} was begun with other settings:\n" + "\n".join(changed),
            fix="set them as they were, or allow them by resume_changes=[key,…]",
        )
