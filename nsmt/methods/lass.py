"""LaSS (Lin et al. 2021, arXiv 2105.09259): each direction trains on its own single weights.

The dense model is tuned on each direction; of every weight matrix the largest magnitudes are that
direction's; then the dense model is trained on with these masks, which translate too. The rate is
tuned for each data set, and the one of the paper's table is not known. How long each direction is
tuned, and on which batches, is `schedule.tuning`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nsmt.languages import Direction
from nsmt.methods.base import Evidence, Method
from nsmt.methods.treatments import WeightMasked
from nsmt.models.weight_masks import Scope
from nsmt.settings import Share


class Lass(Method):
    """Masks of single weights, by magnitude after tuning."""

    labels: ClassVar = {"lass": "LaSS"}
    needs_whole_weights: ClassVar = True
    parts: ClassVar[Literal["tuning"]] = "tuning"
    bears_recompute: ClassVar = False
    not_probed: ClassVar = "it is a model of its own for each direction"
    name: Literal["lass"] = "lass"
    rate: Annotated[float, Field(ge=0, le=1)] = Field(
        0.3, description="the share of each matrix that a direction does without"
    )
    scope: Scope = Field("all", description="stacks whose weights have masks")
    output_projection: bool = Field(
        default=False,
        description="mask the output projection too, as the released code does against its own "
        "settings",
    )
    dropout: Share = Field(0.3, description="while tuning on a direction")

    def own_models(self, directions: Iterable[Direction]) -> dict[str, tuple[Direction, ...]]:
        """A copy of the dense model for each direction."""
        return {str(direction): (direction,) for direction in directions}

    def treatment(self, evidence: Evidence) -> WeightMasked:
        """The same for all evidence: the masks come of training."""
        del evidence
        return WeightMasked(
            rate=self.rate,
            scope=self.scope,
            output_projection=self.output_projection,
            dropout=self.dropout,
        )
