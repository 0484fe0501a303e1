"""Linear layers at the speed of a CPU: weights are put into oneDNN's own order before a product.

On 2 cores of an AMD EPYC, products with reordered weights reach 205 to 220 GFLOP/s where
`torch.nn.Linear` reaches 100 to 190; a training step of `mt_small` is a seventh faster for it,
reordering included. On Intel's processors MKL, behind `torch.nn.Linear`, takes faster kernels: 390
to 410 GFLOP/s for either, so that reordering at each step costs 4 % and decoding alone, which
reorders once, gains by it (a tenth, at the few rows of beams). Which it is depends on the make of
the processor and on no clock: the same machine computes the same numbers each time.

The operators are those that torch's compiler uses. Where a release lacks them, or they find other
numbers than torch's own product, and wherever they do not serve (another device or type, autocast,
few rows), layers compute as `torch.nn.Linear` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Reordering a weight pays when it is multiplied with so many rows.
_ROWS = 256


class Linear(nn.Linear):
    """`torch.nn.Linear`, with products as above."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- torch's name
        """x W^T + b."""
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for any leading dimensions of x."""
    # The rows last: to a compiler, asking for them is a condition on every shape.
    if _serves(x) and _serves(weight) and _pays() and x.shape[:-1].numel() >= _ROWS:
        found: Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return found
    return F.linear(x, weight, bias)


def reordered(weight: Tensor, *, rows: int, transposed: bool = False) -> Tensor | None:
    """A copy for `product` with so many rows in all, or None where products are torch's own."""
    if rows < _ROWS or not _serves(weight) or not _pays():
        return None
    return _reorder(weight.T.contiguous() if transposed else weight)


def product(x: Tensor, weight: Tensor, packed: Tensor | None) -> Tensor:
    """x W^T without gradients; `packed` is what `reordered` made of the weight."""
    return x @ weight.T if packed is None else _multiply(x, packed, None)


@contextmanager
def packed_weights(model: nn.Module) -> Iterator[None]:
    """Within the block, linear layers reorder their weights once instead of at each product.

    For decoding: without gradients, and weights must not change within the block.
    """
    layers = [each for each in model.modules() if isinstance(each, Linear)]
    # Tied weights are reordered once.
    packed: dict[int, Tensor] = {}
    try:
        for layer in layers:
            weight, place = layer.weight.detach(), layer.weight.data_ptr()
            if place not in packed and _serves(weight):
                packed[place] = _reorder(weight)
            if place in packed:
                vars(layer)["forward"] = partial(_multiply, packed=packed[place], bias=layer.bias)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight)
        return _multiply(x, _reorder(weight), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1])
        return (
            _multiply(gradient, _reorder(weight.T.contiguous()), None) if needs_x else None,
            rows.T @ x.reshape(-1, x.shape[-1]) if needs_weight else None,
            rows.sum(0) if needs_bias else None,
        )


def _serves(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _works()
    )


def _reorder(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return packed


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), packed, bias, "none", [], "")
    return found


@cache
def _pays() -> bool:
    """Whether products with weights that are reordered for each are faster than torch's own."""
    try:
        maker = Path("/proc/cpuinfo").read_text()
    except OSError:
        maker = ""
    with_mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return "GenuineIntel" not in maker or not with_mkl


@cache
def _works() -> bool:
    """Whether this torch has the operators, and they multiply."""
    # No random numbers: asking must not change what a training draws.
    x, weight, bias = (torch.sin(torch.arange(n) * 1.7) for n in (3 * 2 * 32, 48 * 32, 48))
    x, weight = x.view(3, 2, 32), weight.view(48, 32)
    try:
        with torch.no_grad():
            found = _multiply(x, _reorder(weight), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return torch.allclose(found, F.linear(x, weight, bias), atol=1e-3)
