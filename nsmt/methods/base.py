"""What a method is: settings, and from what was measured on a dense model, how to train it on.

A method decides and trains nothing: it returns a treatment, which `nsmt.training` carries out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from nsmt.languages import LanguageTable
from nsmt.methods.treatments import Treatment
from nsmt.neurons.selection import SelectionSettings
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a method may decide by: counts on the validation sets, the rule, and the languages.

    `seed` is the run's.
    """

    statistics: ActivationStatistics
    selection: SelectionSettings
    pivot: str
    languages: LanguageTable
    seed: int = 0


class Method(Settings, ABC):
    """One way to go on from a dense checkpoint; its fields are those of `method=…`.

    `labels` are what tables call the names that the class goes by; `needs_whole_weights` says that
    it cannot be trained where each rank holds a part of a weight.
    """

    labels: ClassVar[Mapping[str, str]]
    needs_whole_weights: ClassVar[bool] = False
    name: str

    @abstractmethod
    def treatment(self, evidence: Evidence) -> Treatment:
        """What to do to the dense model."""
