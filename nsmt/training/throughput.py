"""How fast a stage trains: tokens, operations, share of what the machine can do, waiting for data.

The machine's rate is that of a large matrix product in the precision of the training, measured once
a process.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from nsmt.data.batch import BatchLayout
from nsmt.models.flops import TokenCounts, training_flops
from nsmt.models.settings import ModelSettings

_MIB = 1 << 20
_STATM = Path("/proc/self/statm")


def matrix_side(device: str) -> int:
    """The side of the square product that a device's rate is measured with."""
    return 8192 if device == "cuda" else 2048


@cache
def matrix_rate(device: str, dtype: torch.dtype, *, side: int | None = None) -> float:
    """Operations a second of a square product, measured once."""
    return measured_matrix_rate(device, dtype, side=side)


def measured_matrix_rate(device: str, dtype: torch.dtype, *, side: int | None = None) -> float:
    """Operations a second of a square product, the best of some in a row, measured now."""
    side = side or matrix_side(device)
    # A generator of its own: measuring must not change what a training draws.
    generator = torch.Generator(device).manual_seed(0)
    left, right = (
        torch.randn(side, side, device=device, generator=generator).to(dtype) for _ in range(2)
    )
    best = float("inf")
    for _ in range(4):
        synchronise(device)
        start = time.perf_counter()
        left @ right
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def synchronise(device: str) -> None:
    """Wait until a GPU has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


def slots(batch: BatchLayout) -> int:
    """Positions of both sides, padding included."""
    return batch.source_BS.numel() + batch.target_out_BT.numel()


def memory_mib(device: str) -> float:
    """The peak so far: what torch took of a GPU, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / _MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def held_memory_mib(device: str) -> float:
    """The same now; of this process where the system tells, else its peak."""
    if device == "cuda":
        return torch.cuda.memory_reserved() / _MIB
    if not _STATM.is_file():
        return memory_mib(device)
    return int(_STATM.read_text().split()[1]) * resource.getpagesize() / _MIB


def compilations() -> int:
    """Programs that torch.compile made in this process so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


class Stopwatch:
    """The time of a stretch of training, and how much of it waited for data."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A first stretch begins."""
        self._since = self._idle_since = self._paused = time.perf_counter()
        self._waited = 0.0

    def batch_came(self) -> None:
        """The batch that was waited for is here."""
        self._waited += time.perf_counter() - self._idle_since

    def batch_done(self) -> None:
        """From now on, the next batch is waited for."""
        self._idle_since = time.perf_counter()

    def pause(self) -> None:
        """Something else begins, which is no training."""
        self._paused = time.perf_counter()

    def resume(self) -> None:
        """Training goes on, and the next batch is waited for."""
        self._idle_since = time.perf_counter()
        self._since += self._idle_since - self._paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Something else than training, from the pause until training goes on."""
        self.pause()
        yield
        self.resume()

    def lap(self) -> tuple[float, float]:
        """Seconds since the last lap, and the share of them that waited for data."""
        now = time.perf_counter()
        # A coarse clock may not have moved, and speeds are divided by this.
        seconds, waited = max(now - self._since, 1e-9), self._waited
        self._since, self._waited = now, 0.0
        return seconds, min(1.0, waited / seconds)


def throughput(
    model: ModelSettings,
    *,
    vocabulary: int,
    bottleneck: int | None,
    tokens: TokenCounts,
    seconds: float,
    ranks: int,
    device: str,
    dtype: torch.dtype,
) -> dict[str, float]:
    """What is logged of a stretch of training, over all ranks; `bottleneck` is that of adapters."""
    operations = training_flops(model, vocabulary=vocabulary, tokens=tokens, bottleneck=bottleneck)
    operations /= seconds
    return {
        "source_tokens_per_second": tokens.source / seconds,
        "target_tokens_per_second": tokens.target / seconds,
        "tflops": operations / 1e12,
        "share_of_matrix_rate": operations / ranks / matrix_rate(device, dtype),
        "memory_mib": memory_mib(device),
        "held_memory_mib": held_memory_mib(device),
    }
