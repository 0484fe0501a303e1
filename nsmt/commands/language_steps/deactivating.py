"""What switching languages off is, the same in every step that does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from nsmt.steering.interventions import Change, LanguageNeurons


class Deactivation(Change):
    """A change that needs no mean of one language, so that several may be switched off at once."""

    operation: Literal["constant", "multiply", "mean", "random", "noise"] = "constant"


def controls(neurons: LanguageNeurons, seeds: Sequence[int]) -> dict[str, LanguageNeurons]:
    """As many random neurons, drawn anew by each seed: "random SEED"."""
    return {f"random {seed}": neurons.permuted(seed=seed) for seed in seeds}
