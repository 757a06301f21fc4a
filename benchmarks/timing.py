"""Medians of things that are timed in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Spread:
    """Seconds over repeats: median and quartiles."""

    median: float
    low: float
    high: float
    repeats: int

    def __str__(self) -> str:
        return f"{1e3 * self.median:9.2f} ms [{1e3 * self.low:.2f}, {1e3 * self.high:.2f}]"


def spread(values: Sequence[float]) -> Spread:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high, len(values))


def seconds(fn: Callable[[], object]) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    fn()
    return clock() - start


def interleaved(runs: Sequence[Callable[[], object]], budget: float) -> list[list[float]]:
    """Seconds of each run, taken in turns until the budget is spent: at least 3 times each, at most 200."""
    taken: list[list[float]] = [[] for _ in runs]
    start = time.perf_counter()
    while len(taken[0]) < 3 or (time.perf_counter() - start < budget and len(taken[0]) < 200):
        turn = len(taken[0]) % 2
        for index in (range(len(runs)), reversed(range(len(runs))))[turn]:
            taken[index].append(seconds(runs[index]))
    return taken
