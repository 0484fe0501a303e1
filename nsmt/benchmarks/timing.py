"""Measuring contestants in turns, so that all see the same machine, noise included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from nsmt.progress import progress_bar
from nsmt.training.throughput import measured_matrix_rate, synchronise

Contestants = Mapping[str, Callable[[], object]]
Figures = dict[str, float]


def in_turns(
    contestants: Contestants, repetitions: int, *, device: str, warm_up: int = 1
) -> dict[str, list[float]]:
    """Seconds of each repetition, after some turns that warm up and do not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    with progress_bar() as bar:
        task = bar.add_task("measure", total=repetitions + warm_up, status="")
        for turn in range(repetitions + warm_up):
            bar.update(task, status="warm-up" if turn < warm_up else "")
            for name, function in contestants.items():
                synchronise(device)
                start = time.perf_counter()
                function()
                synchronise(device)
                if turn >= warm_up:
                    seconds[name].append(time.perf_counter() - start)
            bar.advance(task)
    return seconds


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """The median over turns of the first over the second."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))


class MatrixProduct:
    """A contestant that finds what the machine can do at its best, as training logs it, each turn.

    A single product between other work would find cold caches, and be slower than a training step.
    """

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        # Operations a second, a turn each.
        self.rates: list[float] = []

    def __call__(self) -> None:
        """Measure once more."""
        self.rates.append(measured_matrix_rate(self._device, self._dtype))


def memory_copy(device: str) -> Callable[[], object]:
    """A copy too large for any cache: what the machine's memory can do."""
    source = torch.zeros(copy_bytes(device) // 8, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def copy_bytes(device: str) -> int:
    """Bytes that `memory_copy` reads and writes."""
    return (4 if device == "cuda" else 1) << 30
