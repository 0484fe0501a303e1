"""The state of a training in memory: taken whole from all ranks, and put back on any number.

Weights and moments are whole tensors on the CPU by parameter name, also where ranks hold parts of
them (FSDP2). Random generators, and sums that were not logged yet, are each rank's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from nsmt.errors import NsmtError

_TAG = "MT19937"
Found = TypeVar("Found")


def whole_copy(tensor: Tensor) -> Tensor:
    """A copy on the CPU of all of a tensor; every rank must ask for it."""
    tensor = tensor.detach()
    if isinstance(tensor, DTensor):
        tensor = tensor.full_tensor()
    return tensor.to("cpu", copy=True).contiguous()


def put_back(target: Tensor, whole: Tensor) -> None:
    """Fill a tensor, or this rank's part of it, from a whole copy."""
    with torch.no_grad():
        target.copy_(like(target, whole))


def like(target: Tensor, whole: Tensor) -> Tensor:
    """The whole tensor as `target` is: on its device and, if it is, spread over the ranks."""
    moved = whole.to(target.device)
    if isinstance(target, DTensor):
        return distribute_tensor(moved, target.device_mesh, target.placements)
    return moved


def is_sharded(model: nn.Module) -> bool:
    """Whether each rank holds a part of the model alone."""
    return isinstance(model, FSDPModule)


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters as the optimiser knows them, by name; those that are tied come once."""
    if isinstance(model, FSDPModule):
        # Its root is whole after a validation, in tensors that are copies of the optimiser's.
        model.reshard()
    return dict(model.named_parameters())


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters."""
    return {name: whole_copy(parameter) for name, parameter in parameters_of(model).items()}


def put_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill all parameters; KeyError if one is missing."""
    for name, parameter in parameters_of(model).items():
        put_back(parameter, weights[name])


def moments_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """The optimiser's tensors, as `parameter:kind`."""
    return {
        f"{name}:{kind}": whole_copy(value)
        for name, parameter in parameters_of(model).items()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def put_moments(
    optimizer: torch.optim.Optimizer, model: nn.Module, moments: Mapping[str, Tensor]
) -> None:
    """Fill the optimiser's tensors."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in moments.items():
        name, _, kind = key.rpartition(":")
        by_name.setdefault(name, {})[kind] = value
    # torch's own loading puts counters of steps where its kernels want them.
    place = {parameter: number for number, parameter in enumerate(_parameters(optimizer))}
    state = {
        place[parameter]: {
            kind: value if value.ndim == 0 else like(parameter, value)
            for kind, value in by_name[name].items()
        }
        for name, parameter in parameters_of(model).items()
        if name in by_name
    }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def put_schedule(schedule: LRScheduler, *, done: int) -> None:
    """Have a schedule stand after so many steps, at the rates that it has there.

    They are its own, and not those of before: the settings may have been changed.
    """
    assert isinstance(schedule, LambdaLR)  # noqa: S101 -- narrows the type
    factors = (factor(done) for factor in schedule.lr_lambdas)
    rates = [base * factor for base, factor in zip(schedule.base_lrs, factors, strict=True)]
    place = {"last_epoch": done, "_step_count": done + 1, "_last_lr": rates}
    schedule.load_state_dict(schedule.state_dict() | place)
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    return (each for group in optimizer.param_groups for each in group["params"])


def random_state() -> dict[str, Any]:
    """Every generator of this process, as JSON."""
    version, words, gauss = random.getstate()
    _, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": bytes(torch.get_rng_state().tolist()).hex(),
        "cuda": [bytes(each.tolist()).hex() for each in _cuda_states()],
        "python": [version, list(words), gauss],
        "numpy": [np.asarray(keys).tolist(), place, has_gauss, cached],
    }


def put_random_state(state: Mapping[str, Any]) -> None:
    """Put every generator of this process back."""
    torch.set_rng_state(_bytes(state["torch"]))
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(_bytes(state["cuda"][0]))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((_TAG, np.array(keys, np.uint32), place, has_gauss, cached))


def _cuda_states() -> list[Tensor]:
    return [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []


def _bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)


def of_all_ranks(value: object) -> list[Any]:
    """What each rank says, in order of ranks; every rank must ask."""
    if not torch.distributed.is_initialized():
        return [value]
    said: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(said, value)
    return said


def of_first_rank(find: Callable[[], Found]) -> Found:
    """What the first rank finds, in all ranks; every rank must ask. Its NsmtErrors are raised in
    all of them too.
    """
    if not torch.distributed.is_initialized():
        return find()
    said: list[Any] = [None]
    if torch.distributed.get_rank() == 0:
        try:
            said = [find()]
        except NsmtError as error:
            said = [error]
    torch.distributed.broadcast_object_list(said)
    if isinstance(said[0], NsmtError):
        raise said[0]
    return cast("Found", said[0])


def wait_for_all_ranks() -> None:
    """Go on when every rank has come here."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
