"""Claims about the steps of `nsmt languages`: what is done to the model, what is told early."""

import pytest
from pydantic import ValidationError

from nsmt.commands.language_steps import ForcingSettings, TasksSettings
from nsmt.commands.language_steps.forcing import _program
from nsmt.steering.generation import GenerationSettings

GENERATION = GenerationSettings()


@pytest.mark.parametrize("settings_of", [ForcingSettings, TasksSettings])
def test_activation_by_a_factor_has_the_factor(settings_of):
    settings = settings_of(operation="multiply", activate_value=2.0, generation=GENERATION)
    found = settings.activation("de")
    assert (found.operation, found.value, found.languages) == ("multiply", 2.0, ("de",))


def test_forcing_switches_off_with_its_own_value_and_activates_with_another():
    settings = ForcingSettings(
        operation="multiply", activate_value=3.0, value=-1.0, strength=0.5, generation=GENERATION
    )
    silence, activate = _program(settings, "en", "de")
    assert (silence.value, silence.strength, activate.value, activate.strength) == (-1, 1, 3, 0.5)


@pytest.mark.parametrize("settings_of", [ForcingSettings, TasksSettings])
@pytest.mark.parametrize("operation", ["constant", "multiply", "random", "noise"])
def test_an_operation_that_would_switch_off_or_do_nothing_needs_a_value(settings_of, operation):
    with pytest.raises(ValidationError, match="activates nothing without a value"):
        settings_of(operation=operation, generation=GENERATION)
    with pytest.raises(ValidationError, match="means nothing to operation=add"):
        settings_of(activate_value=1.0, generation=GENERATION)
