"""What activating a language is: one operation on its neurons, the same in every step."""

from __future__ import annotations

from typing import Final

from pydantic import Field, model_validator

from nsmt.settings import Settings
from nsmt.steering.interventions import Intervention, Operation

# Those which mean nothing without a value.
_VALUED: Final = frozenset[Operation]({"constant", "multiply", "random", "noise"})


class ActivatingSettings(Settings):
    """The operation on the neurons of the language that is activated."""

    operation: Operation = Field("add", description="on the neurons of the language wanted")
    activate_value: float | None = Field(
        None, description="of constant, multiply, random and noise, which need one"
    )
    strength: float = 1.0

    @model_validator(mode="after")
    def _has_its_value(self) -> ActivatingSettings:
        if self.operation in _VALUED and self.activate_value is None:
            raise ValueError(
                f"operation={self.operation} activates nothing without a value: set "
                "activate_value, as 2.0 for twice the activation under multiply"
            )
        if self.operation not in _VALUED and self.activate_value is not None:
            raise ValueError(f"activate_value means nothing to operation={self.operation}")
        return self

    def activation(self, language: str) -> Intervention:
        """A language activated."""
        return Intervention(
            operation=self.operation,
            languages=(language,),
            value=self.activate_value or 0.0,
            strength=self.strength,
        )
