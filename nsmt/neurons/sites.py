"""Where neurons are: a site is the hidden layer of one feed-forward block.

A neuron is one unit between the two feed-forward projections; its row of the first weight reads
the residual stream and its column of the second writes to it. Sites are named, never numbered
across stacks, so that encoder-decoders and language models of any depth share one vocabulary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from nsmt.errors import AtlasError
from nsmt.languages import Direction

# The stacks of a translation model; a language model is a decoder alone.
ENCODER: Final = "encoder"
DECODER: Final = "decoder"
STACKS: Final = (ENCODER, DECODER)
_NAME = re.compile(r"(?P<stack>[a-z]+)\.(?P<layer>\d+)\Z")


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """The `width` feed-forward neurons of layer `layer` (from 0) of `stack`."""

    stack: str
    layer: int
    width: int

    @property
    def name(self) -> str:
        """Such as "encoder.0"."""
        return f"{self.stack}.{self.layer}"

    @classmethod
    def parse(cls, name: str, width: int) -> Self:
        """Read what `name` writes."""
        match = _NAME.match(name)
        if match is None or width < 1:
            raise AtlasError(
                f"'{name}' of width {width} is not a neuron site",
                fix="sites are written as stack.layer, such as encoder.0, and have neurons",
            )
        return cls(match["stack"], int(match["layer"]), width)


def language_of(direction: Direction, stack: str) -> str:
    """The language that a stack works in: the encoder in the source, the decoder in the target."""
    return direction.source if stack == ENCODER else direction.target


def require_same_sites(left: tuple[Site, ...], right: tuple[Site, ...], *, what: str) -> None:
    """Raise an AtlasError that names the first site in which two neuron collections differ."""
    if left == right:
        return
    for mine, theirs in zip(left, right, strict=False):
        if mine != theirs:
            difference = f"{mine.name} with {mine.width} neurons against "
            difference += f"{theirs.name} with {theirs.width}"
            break
    else:
        difference = f"{len(left)} sites against {len(right)}"
    raise AtlasError(
        f"{what} belong to different models: {difference}",
        fix="identify the neurons again on the model that is to use them",
    )
