"""Many runs, each a task of Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from latentloom.checks import UserError
from latentloom.cluster.connect import RESTARTS, await_release, check_seen, connected, gpus_each
from latentloom.training.compare import Cell, Outcome, attempt, collected
from latentloom.training.folder import RECORD
from latentloom.values import Record


@contextmanager
def runs_on(address: str, folder: Path, workers: int | None = None) -> Iterator[Runs]:
    """What does runs on a cluster for as long as the block lasts.

    Args:
        address: of the cluster; see `connected`.
        folder: that of all runs is under. Every node must see it under the same path.
        workers: runs at a time, as many as there is room for unless given.
    """
    if workers is not None and workers < 1:
        raise UserError(f"--workers must be at least 1, got {workers}")
    with connected(address):
        check_seen(folder.absolute())
        yield Runs(workers)


class Runs:
    """Runs spread over the nodes, one core each, and one GPU where there is any.

    A run whose worker died is started again and goes on from its checkpoint; a finished one is read.
    """

    def __init__(self, workers: int | None) -> None:
        self.workers = workers
        self.waiting: deque[Cell] = deque()
        self.begun: dict[Any, Path] = {}  # the folder of each task at work
        self.done: dict[Path, Outcome] = {}

    def plan(self, cells: Sequence[Cell]) -> None:
        """Take on runs that will be asked for, so that they can be done beside others."""
        known = {*self.done, *self.begun.values(), *(cell.folder for cell in self.waiting)}
        self.waiting.extend(cell for cell in cells if cell.folder not in known)

    def run(self, cells: Sequence[Cell], *, workers: int = 1) -> list[Record]:
        """The records of the cells; see `latentloom.training.compare.run_cells`.

        Args:
            cells: what to run.
            workers: not used here; how many there are is a matter of the cluster.
        """
        self.plan(cells)
        return collected(cells, ((index, self._outcome(cell)) for index, cell in enumerate(cells)))

    def _outcome(self, cell: Cell) -> Outcome:
        while cell.folder not in self.done:
            self._begin()
            if self.begun:
                (ref,), _ = ray.wait(list(self.begun), num_returns=1)
                self.done[self.begun.pop(ref)] = _got(ref)
        return self.done[cell.folder]

    def _begin(self) -> None:
        """Start what there is room for; Ray itself lets the rest wait where there is no limit."""
        while self.waiting and (self.workers is None or len(self.begun) < self.workers):
            cell = self.waiting.popleft()
            if (cell.folder / RECORD).exists():
                self.done[cell.folder] = attempt(cell)
                continue
            task = _run.options(num_gpus=gpus_each(cell.config.training.accelerator))
            self.begun[task.remote(replace(cell, folder=cell.folder.absolute()))] = cell.folder


@ray.remote(num_cpus=1, max_retries=RESTARTS)
def _run(cell: Cell) -> Outcome:
    await_release(cell.folder)
    return attempt(cell)


def _got(ref: Any) -> Outcome:
    try:
        outcome: Outcome = ray.get(ref)
    except RayError as error:  # a worker died once more than it is started again
        return UserError(
            f"{str(error).strip().splitlines()[0]}; the same command goes on from its checkpoint"
        )
    return outcome
