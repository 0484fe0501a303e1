"""The steps of `nsmt languages`: each measured once for the same weights, text and settings.

`gathering_step` makes the statistics that neurons are found by, `selected` chooses neurons and the
folder of what is found with them. Each of `STEPS` takes a subject, its neurons and the settings of
the step's name, and gives plain data, from its file if that is of the same key. `check_steps` tells
what they would stop at, before anything is done, and `check_changes` what needs the model and its
neurons to be known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from nsmt.commands.language_steps.excerpt import ExcerptSettings
from nsmt.commands.language_steps.fallback import (
    FallbackSettings,
    check_fallback,
    fallback_step,
)
from nsmt.commands.language_steps.fertility import FertilitySettings, fertility_step
from nsmt.commands.language_steps.forcing import ForcingSettings, check_forcing, forcing_step
from nsmt.commands.language_steps.gathering import (
    GatheringSettings,
    gathering_step,
    statistics_folder,
)
from nsmt.commands.language_steps.lens import LensSettings, lens_step
from nsmt.commands.language_steps.perplexity import PerplexitySettings, perplexity_step
from nsmt.commands.language_steps.selecting import ATLAS, selected
from nsmt.commands.language_steps.subject import Subject, decisive, short_digest
from nsmt.commands.language_steps.tasks import TasksSettings, check_tasks, tasks_step
from nsmt.errors import ConfigurationError
from nsmt.languages import Language
from nsmt.settings import Settings
from nsmt.steering.interventions import Change, LanguageNeurons, require_effective

StepName = Literal["perplexity", "fertility", "forcing", "fallback", "lens", "tasks"]
STEPS: Final[dict[StepName, Callable[..., dict[str, Any]]]] = {
    "perplexity": perplexity_step,
    "fertility": fertility_step,
    "forcing": forcing_step,
    "fallback": fallback_step,
    "lens": lens_step,
    "tasks": tasks_step,
}
_CHECKS: Final[dict[StepName, Callable[[Any, Sequence[str], Mapping[str, Language]], None]]] = {
    "forcing": check_forcing,
    "fallback": check_fallback,
    # Sets name languages as the catalogue does.
    "tasks": lambda settings, languages, _: check_tasks(settings, languages),
}


def check_steps(
    steps: Mapping[StepName, Settings],
    languages: Sequence[str],
    known: Mapping[str, Language],
) -> None:
    """An error if one of some steps cannot be done in these languages with its settings."""
    for name, settings in steps.items():
        if name in _CHECKS:
            _CHECKS[name](settings, languages, known)


def check_changes(
    steps: Mapping[StepName, Settings], subject: Subject, neurons: LanguageNeurons
) -> None:
    """An error if one of some steps changes no neuron, or reads more than the model has room for.

    Not for languages without neurons beside others that have some.
    """
    for name, settings in steps.items():
        if isinstance(settings, ExcerptSettings):
            subject.require_positions(settings.context, key=f"{name}.context")
        for key, change in settings:
            if not isinstance(change, Change):
                continue
            try:
                require_effective((change.of(*subject.languages),), neurons)
            except ConfigurationError as error:
                raise ConfigurationError(f"{name}.{key}: {error.problem}", fix=error.fix) from None


__all__ = [
    "ATLAS",
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
    "check_changes",
    "check_steps",
    "decisive",
    "gathering_step",
    "selected",
    "short_digest",
    "statistics_folder",
]
