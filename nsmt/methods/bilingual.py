"""Models of one pair, or one direction, each: what sharing a model costs or brings (Table 4).

The paper's are taken to be of pairs. How long each is trained, and on which batches, is
`schedule.separate`: a share of the dense model's updates would be too few to learn much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field

from nsmt.languages import Direction
from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import Separate


class Bilingual(Method):
    """Models of the dense model's shape and vocabulary, from random weights."""

    labels: ClassVar = {"bilingual": "bilingual models"}
    name: Literal["bilingual"] = "bilingual"
    parts: ClassVar[Literal["separate"]] = "separate"
    seen_only: ClassVar = "it has a model for each trained pair alone"
    not_probed: ClassVar = "it is a model of its own for each pair"
    unit: Literal["direction", "pair"] = Field(
        "pair", description="what a model is for: one direction, or a pair both ways"
    )

    def treatment(self, evidence: Evidence) -> Separate:
        """The directions of each model."""
        return Separate(self.own_models(map(Direction.parse, evidence.statistics.tasks)))

    def own_models(self, directions: Iterable[Direction]) -> dict[str, tuple[Direction, ...]]:
        """One for each direction or pair."""
        parts: dict[str, list[Direction]] = {}
        for direction in directions:
            if self.unit == "direction":
                name = str(direction)
            else:
                name = "-".join(sorted((direction.source, direction.target)))
            parts.setdefault(name, []).append(direction)
        return {name: tuple(own) for name, own in parts.items()}
