"""The terms of a stage: the settings that decide its weights, kept with it and compared later.

A run finds its own stages under its own terms: they name its folder. Others are met where a run
takes over the stages of another one and may differ from it (`resume_changes`). What can be changed
in a stage that was begun is changed from there on; what cannot is refused by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from nsmt.errors import CheckpointError
from nsmt.methods import CONTROL, DENSE
from nsmt.progress import console
from nsmt.training.settings import StageKey
from nsmt.training.world import rank

# Values in plain JSON by the dotted keys of the configuration.
Terms = Mapping[str, Any]

_LOG = logging.getLogger(__name__)
# What every stage is trained by, and what further decides those after the dense one.
_SHARED: Final = (
    *("seed", "data.temperature", "data.curriculum"),
    *("batch.", "optimizer.", "trainer.", "callbacks.", "divergence."),
)
_DENSE: Final = (*_SHARED, "model.", "schedule.dense.")
_CONTROL: Final = (*_DENSE, "schedule.specialise.")
_OWN: Final = ("schedule.separate.", "schedule.tuning.")
# The content of the atlas that a run was given, which its path does not tell.
GIVEN_ATLAS: Final = "schedule.atlas.fingerprint"
# Models of single directions or pairs are trained before anything is selected.
_PART: Final = (*_CONTROL, *_OWN, "method.")
_METHOD: Final = (*_CONTROL, *_OWN, "method.", "selection.", GIVEN_ATLAS)
# The next update can do with others of these. Not with another plan, nor with other memories.
_CHANGEABLE: Final = ("optimizer.", "trainer.", "divergence.", "schedule.")
_PLANS: Final = tuple(
    f"schedule.{stage}.{key}" for stage in get_args(StageKey) for key in ("tokens", "per_update")
)
# Keys that a run's identity leaves out while they have these values.
_UNSAID: Final = {
    "model.norm": "pre",
    **dict.fromkeys(
        key for key in _PLANS if key.startswith(("schedule.dense.", "schedule.specialise."))
    ),
}


def terms_of(stage: str, settings: Terms) -> dict[str, Any]:
    """Of all that decides a run's numbers, what decides a stage's weights."""
    kinds = {DENSE: _DENSE, CONTROL: _CONTROL}.get(stage, _PART if "/" in stage else _METHOD)
    return {
        key: value
        for key, value in settings.items()
        if key.startswith(kinds) and not (kinds is _PART and _is_stood_in(key, settings))
    }


def _is_stood_in(key: str, settings: Terms) -> bool:
    """Whether models of single directions have a setting of their own for one of the method's."""
    own = key.replace("schedule.specialise.", "schedule.tuning.")
    return own != key and settings.get(own) is not None


def check_begun(then: Terms, now: Terms, *, folder: Path, done: int, updates: int) -> None:
    """Compare the terms of a stage after `done` updates with those that it is to go on under.

    CheckpointError for what cannot be changed; the rest is told.
    """
    changed = _changed(then, now)
    if refused := [
        text for key, text in changed.items() if not key.startswith(_CHANGEABLE) or key in _PLANS
    ]:
        raise CheckpointError(
            f"{folder} is in the middle of a stage, in which these cannot be changed:\n"
            + "\n".join(refused),
            fix=f"set them as they were, or delete {folder} to train it from its beginning",
        )
    if done >= updates:
        raise CheckpointError(
            f"{folder} has done {done} updates already, and is to end after {updates}",
            fix=f"ask for more, or delete {folder} to train it from its beginning",
        )
    _tell(f"{folder.name} goes on after {done} updates under other settings", changed)


def check_finished(then: Terms, now: Terms, *, folder: Path) -> None:
    """Compare the terms of a finished stage with those of the run that finds it.

    CheckpointError for what is meant for this stage and comes too late; what may be meant for those
    that follow is told.
    """
    changed = _changed(then, now)
    if refused := [text for key, text in changed.items() if not key.startswith(_SHARED)]:
        raise CheckpointError(
            f"{folder} is finished, and was made with other settings:\n" + "\n".join(refused),
            fix=f"set them as they were, or delete {folder} to train it again",
        )
    _tell(f"{folder.name} is finished and stays as it was made", changed)


def _changed(then: Terms, now: Terms) -> dict[str, str]:
    """By key, what both know and say otherwise: an older release may not know all."""
    known = (then.keys() & now.keys()) | ((then.keys() | now.keys()) & _UNSAID.keys())
    then, now = {**_UNSAID, **then}, {**_UNSAID, **now}
    return {
        key: f"  - {key}: {then[key]} then, {now[key]} now"
        for key in sorted(known)
        if then[key] != now[key]
    }


def _tell(what: str, changed: Mapping[str, str]) -> None:
    if changed and rank() == 0:
        text = f"{what}:\n" + "\n".join(changed.values())
        _LOG.warning(text)
        console.print(text, markup=False, highlight=False)
