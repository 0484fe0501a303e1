"""Where the activations of a site pass by in a running model, to be looked at or changed.

A plain block writes `second(act(first(x)))` and a gated one `down(act(gate(x)) * up(x))`. The
activation is the output of a module (most language models have one for the non-linearity) or the
input of the second projection (nsmt's own models). Either is reached with the hooks of `nn.Module`,
in place and without a change to the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nsmt.neurons.sites import Site

# Takes activations of any shape [..., F]; what it returns replaces them, unless it is None.
Look = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True, slots=True)
class Tap:
    """The activations of one site are the output, or the only input, of `module`.

    `second` is the projection that writes them to the residual stream.
    """

    module: nn.Module
    second: nn.Module
    side: Literal["input", "output"] = "output"

    def attach(self, look: Look) -> RemovableHandle:
        """Call `look` with the activations of every forward pass until the handle is removed."""
        if self.side == "input":
            return self.module.register_forward_pre_hook(lambda _, inputs: look(inputs[0]))
        return self.module.register_forward_hook(lambda _, __, output: look(output))


Taps = Mapping[Site, Tap]
# For a site: the second projection of its block. Models of nsmt offer this mapping.
Projections = Mapping[Site, nn.Module]


def input_taps(projections: Projections) -> dict[Site, Tap]:
    """Activations as the second projections read them, for each site of some."""
    return {site: Tap(module, module, "input") for site, module in projections.items()}


@contextmanager
def attached(taps: Taps, looks: Mapping[Site, Look]) -> Iterator[None]:
    """Attach every look to its tap for the length of the block; hooks never stay behind."""
    with ExitStack() as hooks:
        for site, look in looks.items():
            hooks.callback(taps[site].attach(look).remove)
        yield
