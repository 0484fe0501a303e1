"""What a method is: settings, and from what was measured on a dense model, how to train it on.

A method decides and trains nothing: it returns a treatment, which `nsmt.training` carries out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from nsmt.languages import Direction, LanguageTable
from nsmt.methods.treatments import Treatment
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.settings import Settings


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a method may decide by: counts on the validation sets, the rule, and the languages.

    `seed` is the run's. `given` are sets found before, for methods that take them in place of those
    that the rule selects.
    """

    statistics: ActivationStatistics
    selection: SelectionSettings
    pivot: str
    languages: LanguageTable
    seed: int
    given: NeuronAtlas | None = None


class Method(Settings, ABC):
    """One way to go on from a dense checkpoint; its fields are those of `method=…`.

    `labels` are what tables call the names that the class goes by; `needs_whole_weights` says that
    it cannot be trained where each rank holds a part of a weight. `parts` is the key of the
    schedule's settings for its models of single directions or pairs, if it trains some;
    `takes_atlas` says that `schedule.atlas` can stand for the sets that it would select, and
    `bears_recompute` that a layer may be computed again in the backward pass. `seen_only` is why a
    system of it cannot translate directions that it did not train, `not_probed` why it is not one
    model whose directions differ in their masks.
    """

    labels: ClassVar[Mapping[str, str]]
    needs_whole_weights: ClassVar[bool] = False
    parts: ClassVar[Literal["separate", "tuning"] | None] = None
    takes_atlas: ClassVar[bool] = False
    bears_recompute: ClassVar[bool] = True
    seen_only: ClassVar[str | None] = None
    not_probed: ClassVar[str | None] = None
    name: str

    def refusal(
        self, directions: Sequence[Direction], languages: LanguageTable, *, pivot: str
    ) -> str | None:
        """Why these directions cannot be trained by it; None if they can."""
        del directions, languages, pivot
        return None

    def own_models(self, directions: Iterable[Direction]) -> dict[str, tuple[Direction, ...]]:
        """The directions of each model that is trained on some alone, by the model's name."""
        del directions
        return {}

    @abstractmethod
    def treatment(self, evidence: Evidence) -> Treatment:
        """What to do to the dense model."""
