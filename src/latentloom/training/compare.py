"""Many runs, some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentloom.config import Train
from latentloom.values import Record

Outcome = Record | Exception


@dataclass(frozen=True)
class Cell:
    """A run that is to be done: what, and where it is kept."""

    recipe: str
    config: Train
    folder: Path


def run_cells(cells: Sequence[Cell], *, workers: int = 1) -> list[Record]:
    """Run every cell that has no record yet, `workers` at a time; the records in the order of cells.

    Each worker is a process with its share of the cores. A cell that fails does not stop the others;
    its error is raised when they are done.
    """
    return collected(cells, _outcomes(cells, workers))


def collected(cells: Sequence[Cell], outcomes: Iterator[tuple[int, Outcome]]) -> list[Record]:
    """The records of cells in their order, from outcomes by their index in any order, as they come.

    When all have come the first error among them is raised.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found: dict[int, Outcome] = {}
    with Progress(*columns, transient=True) as progress:
        bar = progress.add_task("runs", total=len(cells))
        for index, outcome in outcomes:
            found[index] = outcome
            progress.update(bar, advance=1, description=f"{cells[index].recipe}, {cells[index].folder.name}")
    for outcome in found.values():
        if isinstance(outcome, Exception):
            raise outcome
    return [record for _, record in sorted(found.items()) if isinstance(record, Record)]


def _outcomes(cells: Sequence[Cell], workers: int) -> Iterator[tuple[int, Outcome]]:
    from joblib import Parallel, cpu_count, delayed

    threads = max(1, cpu_count() // workers)
    jobs = (delayed(_in_worker)(index, cell, threads) for index, cell in enumerate(cells))
    if workers == 1:
        # In this process, where an interrupt stops the run at hand.
        return ((index, attempt(cell)) for index, cell in enumerate(cells))
    outcomes: Iterator[tuple[int, Outcome]] = Parallel(
        n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers
    )(jobs)
    return outcomes


def _in_worker(index: int, cell: Cell, threads: int) -> tuple[int, Outcome]:
    import torch

    torch.set_num_threads(threads)
    return index, attempt(cell)


def attempt(cell: Cell) -> Outcome:
    """The record of a run that is done or read, or what it failed by."""
    from latentloom.training.run import run

    try:
        return run(cell.config, cell.folder, recipe=cell.recipe, progress=False)
    except Exception as error:
        error.add_note(f"in {cell.recipe}, {cell.folder}")
        return error
