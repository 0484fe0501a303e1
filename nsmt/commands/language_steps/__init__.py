"""The steps of `nsmt languages`: each measured once for the same weights, text and settings.

`gathering_step` makes the statistics that neurons are found by. Each of `STEPS` takes a subject,
its neurons and the settings of the step's name, and gives plain data, from its file if that is of
the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

from nsmt.commands.language_steps.fallback import FallbackSettings, fallback_step
from nsmt.commands.language_steps.fertility import FertilitySettings, fertility_step
from nsmt.commands.language_steps.forcing import ForcingSettings, forcing_step
from nsmt.commands.language_steps.gathering import GatheringSettings, gathering_step
from nsmt.commands.language_steps.lens import LensSettings, lens_step
from nsmt.commands.language_steps.perplexity import PerplexitySettings, perplexity_step
from nsmt.commands.language_steps.subject import Subject
from nsmt.commands.language_steps.tasks import TasksSettings, tasks_step

StepName = Literal["perplexity", "fertility", "forcing", "fallback", "lens", "tasks"]
STEPS: Final[dict[StepName, Callable[..., dict[str, Any]]]] = {
    "perplexity": perplexity_step,
    "fertility": fertility_step,
    "forcing": forcing_step,
    "fallback": fallback_step,
    "lens": lens_step,
    "tasks": tasks_step,
}

__all__ = [
    "STEPS",
    "FallbackSettings",
    "FertilitySettings",
    "ForcingSettings",
    "GatheringSettings",
    "LensSettings",
    "PerplexitySettings",
    "StepName",
    "Subject",
    "TasksSettings",
    "gathering_step",
]
