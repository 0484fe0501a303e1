"""Label-smoothed cross-entropy over a large vocabulary, without ever holding a batch's logits.

Smoothing is fairseq's (the papers' trainer): ε_i = ε/(V-1) for every token but the right one, so
loss = (1 - ε - ε_i)·nll + ε_i·Σ_v(-log p_v). The gradient on the logits, with p the softmax, is
p - ε_i, and 1 - ε - ε_i less at the right token. As that needs nothing from later layers, the
forward pass computes it chunk by chunk: on 2 CPU cores a training step is a quarter faster for it.

Two libraries compute the nll fused too (`kind`); smoothing is a term of its own for them, since
Σ_v(-log p_v) = V·(nll + h·w_right - h·mean_v(w_v)).

Shape suffixes: N target tokens, D model width, V vocabulary.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nsmt.errors import CheckpointError, ConfigurationError
from nsmt.models.linear import product, reordered

# chunked: the code below. torch: linear_cross_entropy in chunks. liger: Liger-Kernel, in Triton.
LossKind = Literal["chunked", "torch", "liger"]

# Tokens a chunk. A CPU's logits should stay near its cache; a GPU wants long products.
_CHUNK = {"cpu": 512, "cuda": 4096}


def not_numbers(of: str = "the model") -> CheckpointError:
    """The error to raise where probabilities of a model are no numbers."""
    return CheckpointError(
        f"the probabilities of {of} are no numbers: its training diverged",
        fix="train it again with a lower learning rate, or in fp32",
    )


def smoothed_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    target_N: Tensor,
    *,
    smoothing: float,
    kind: LossKind = "chunked",
    compiled: bool = False,
) -> tuple[Tensor, Tensor]:
    """The summed loss, with gradient, and the summed nll, without: nats, fp32 scalars.

    `compiled` makes one program of what the chunked kind does with logits. Raises
    ConfigurationError where the library of a kind is missing.
    """
    if kind == "chunked":
        loss, nll = _Chunked.apply(hidden_ND, weight_VD, target_N, smoothing, compiled)  # type: ignore[no-untyped-call]
        return loss, nll
    low_ND, low_VD = _in_one_type(hidden_ND, weight_VD)
    nll = (_torch_nll if kind == "torch" else _liger_nll)(low_ND, low_VD, target_N).float()
    size = len(weight_VD)
    # Against what the libraries saw, so that both terms are of the same rounded numbers.
    with torch.autocast(hidden_ND.device.type, enabled=False):
        right = (low_ND.float() * low_VD[target_N].float()).sum()
        mean = low_ND.float().sum(0) @ low_VD.float().mean(0)
    return nll + smoothing * size / (size - 1) * (right - mean), nll.detach()


@torch.no_grad()
def token_nll(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
    """Each token's negative log-likelihood, without gradient: nats, fp32 [N]."""
    hidden_ND, weight_VD = _in_one_type(hidden_ND, weight_VD)
    packed = reordered(weight_VD, rows=len(target_N))
    nll_N = hidden_ND.new_empty(len(target_N), dtype=torch.float32)
    for chunk in _chunks(target_N):
        logits = product(hidden_ND[chunk], weight_VD, packed).float()
        nll_N[chunk] = F.cross_entropy(logits, target_N[chunk], reduction="none")
    return nll_N


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 -- torch's protocol
        hidden_ND: Tensor,
        weight_VD: Tensor,
        target_N: Tensor,
        smoothing: float,
        compiled: bool,  # noqa: FBT001 -- torch's protocol
    ) -> tuple[Tensor, Tensor]:
        spread = smoothing / (len(weight_VD) - 1)
        right = 1 - smoothing - spread
        low_ND, low_VD = _in_one_type(hidden_ND, weight_VD)
        packed = reordered(low_VD, rows=len(target_N))
        packed_back = reordered(low_VD, rows=len(target_N), transposed=True)
        of_logits = _compiled() if compiled else _of_logits
        hidden_grad_ND = torch.empty_like(hidden_ND)
        # A frozen output needs none, which is a third of the work.
        weight_grad_VD = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        loss, nll = (hidden_ND.new_zeros((), dtype=torch.float32) for _ in range(2))
        for chunk in _chunks(target_N):
            logits = product(low_ND[chunk], low_VD, packed)
            its_loss, its_nll, gradient = of_logits(logits, target_N[chunk], right, spread)
            loss += its_loss
            nll += its_nll
            hidden_grad_ND[chunk] = product(gradient, low_VD.T, packed_back)
            if weight_grad_VD is None:
                continue
            if weight_grad_VD.dtype == gradient.dtype:
                weight_grad_VD.addmm_(gradient.T, low_ND[chunk])
            else:
                weight_grad_VD += gradient.T @ low_ND[chunk]
        ctx.gradients = [hidden_grad_ND, weight_grad_VD]
        ctx.mark_non_differentiable(nll)
        return loss, nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, loss_grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        # Scaled in place, a copy of the output's weight is saved; so they serve once.
        gradients = [None if each is None else each.mul_(loss_grad) for each in ctx.gradients]
        ctx.gradients = None
        return *gradients, None, None, None


def _of_logits(
    logits_CV: Tensor, target_C: Tensor, right: float, spread: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A chunk's summed loss and nll, and the loss's gradient on its logits."""
    log_p = logits_CV.float().log_softmax(-1)
    nll = -log_p.gather(-1, target_C[:, None]).sum()
    loss = right * nll
    if spread:
        loss -= spread * log_p.sum()
    gradient = log_p.exp_().sub_(spread)
    gradient.scatter_add_(-1, target_C[:, None], gradient.new_full((len(target_C), 1), -right))
    return loss, nll, gradient.to(logits_CV.dtype)


def _of_logits_fusible(
    logits_CV: Tensor, target_C: Tensor, right: float, spread: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The same without writing in place: a compiler makes one pass of it that keeps nothing."""
    log_p = logits_CV.float().log_softmax(-1)
    nll = -log_p.gather(-1, target_C[:, None]).sum()
    is_right = torch.arange(logits_CV.shape[-1], device=logits_CV.device) == target_C[:, None]
    gradient = log_p.exp() - spread - right * is_right
    return right * nll - spread * log_p.sum(), nll, gradient.to(logits_CV.dtype)


@cache
def _compiled() -> Callable[[Tensor, Tensor, float, float], tuple[Tensor, Tensor, Tensor]]:
    # Chunks are of many lengths, so none may be compiled in. Past the limit of programs, an error.
    return torch.compile(_of_logits_fusible, dynamic=True, fullgraph=True)


def _torch_nll(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
    if not hasattr(F, "linear_cross_entropy"):
        raise ConfigurationError(
            f"trainer.loss=torch needs torch 2.13, this is {torch.__version__}",
            fix="choose trainer.loss=chunked",
        )
    # Its sum is of the type of its input, in bf16 a per cent off. So then it sums nothing, for
    # which it goes over the logits once more.
    reduction = "sum" if hidden_ND.dtype == torch.float32 else "none"
    options = nn.LinearCrossEntropyOptions()
    nll: Tensor = F.linear_cross_entropy(
        hidden_ND, weight_VD, target_N, reduction=reduction, options=options
    )
    return nll.float().sum()


def _liger_nll(hidden_ND: Tensor, weight_VD: Tensor, target_N: Tensor) -> Tensor:
    try:
        library = importlib.import_module("liger_kernel.transformers.functional")
    except ImportError:
        raise ConfigurationError(
            "trainer.loss=liger needs Liger-Kernel, which is not installed",
            fix="pip install liger-kernel, or choose trainer.loss=chunked",
        ) from None
    nll: Tensor = library.liger_fused_linear_cross_entropy(
        hidden_ND, weight_VD, target_N, reduction="sum"
    )
    return nll


def _in_one_type(hidden_ND: Tensor, weight_VD: Tensor) -> tuple[Tensor, Tensor]:
    """Both as products under autocast would take them."""
    device = hidden_ND.device.type
    if not torch.is_autocast_enabled(device):
        return hidden_ND, weight_VD
    reduced = torch.get_autocast_dtype(device)
    return hidden_ND.to(reduced), weight_VD.to(reduced)


def _chunks(target_N: Tensor) -> Iterator[slice]:
    """Chunks of nearly one size."""
    count = math.ceil(len(target_N) / _CHUNK.get(target_N.device.type, _CHUNK["cpu"]))
    edges = [len(target_N) * place // count for place in range(count + 1)] if count else []
    return (slice(start, end) for start, end in pairwise(edges))
