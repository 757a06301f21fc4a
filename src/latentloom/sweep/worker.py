"""What a worker of Ray does: train one trial, seed after seed, and report."""

from __future__ import annotations

import csv
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock
from ray import tune
from ray.tune.stopper import TrialPlateauStopper

from latentloom.config import Train
from latentloom.files import write_text
from latentloom.sweep.space import Value, with_values
from latentloom.sweep.trial import ERROR, Task, folder_of
from latentloom.training.folder import HISTORY
from latentloom.training.run import run
from latentloom.values import Direction

SCORE = "score"
EPOCH = "epoch"
# A seed ends when so many scores in a row have a smaller standard deviation, as in Moving Targets (2023).
PLATEAU_EPOCHS = 6
PLATEAU_SD = 0.005


class PlateauError(Exception):
    """The run has stopped to improve; not a failure."""


def run_trial(config: Mapping[str, Any], task: Task) -> None:
    """Train the trial `config["number"]` with the values `config["values"]`, and report to Ray.

    Ray hears the best score so far after each epoch of the first seed, by which it may stop the trial,
    and the mean of all seeds at the end. An error ends the trial and not the worker: it is reported, and
    written to error.txt. So what Ray takes for a failure is a worker that died, and it starts another.
    """
    folder = folder_of(task.folder, config["number"])
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # a worker of a killed sweep may live on for a moment
        try:
            tune.report(_over_seeds(task, folder, config["values"]))
        except Exception as error:
            write_text(folder / ERROR, traceback.format_exc())
            tune.report({SCORE: float("nan"), "error": f"{type(error).__name__}: {error}"})


def _over_seeds(task: Task, folder: Path, values: Mapping[str, Value]) -> dict[str, Any]:
    """Train every seed; what Ray hears at the end."""

    def told(scores: Sequence[float]) -> None:
        best, epochs = best_of(scores, task.better), len(scores)
        tune.report({SCORE: best, "scores": [best], EPOCH: epochs, "epochs": epochs})

    config = with_values(task.base, values)
    every = [
        scores_of(replace(config, seed=seed), folder / f"seed-{seed}", task, _silent if seed else told)
        for seed in range(task.seeds)
    ]
    scores = [best_of(scores, task.better) for scores in every]
    return {SCORE: fmean(scores), "scores": scores, EPOCH: task.end, "epochs": sum(map(len, every))}


def _silent(scores: Sequence[float]) -> None:
    pass


def best_of(scores: Iterable[float], better: Direction) -> float:
    """The best of the scores that are finite; nan without one."""
    finite = filter(math.isfinite, scores)
    return max(finite, default=math.nan) if better == "higher" else min(finite, default=math.nan)


def scores_of(
    config: Train, folder: Path, task: Task, told: Callable[[Sequence[float]], None]
) -> list[float]:
    """The monitored score of each epoch of a run, which ends by itself or on a plateau.

    A run that was begun goes on; `told` hears of its epochs again.
    """
    seen: list[float] = []
    plateau = TrialPlateauStopper(SCORE, num_results=PLATEAU_EPOCHS, std=PLATEAU_SD)

    def watch(row: Mapping[str, Any]) -> None:
        if int(row[EPOCH]) < len(seen):
            return  # known from the history, and now trained again from the last checkpoint
        seen.append(float(row[f"val/{task.monitor}"]))
        told(seen)
        if plateau(folder.name, {SCORE: seen[-1]}):
            raise PlateauError

    with suppress(PlateauError):
        for row in _history(folder):
            watch(row)
        run(config, folder, recipe=task.recipe, progress=False, watch=watch)
    return seen


def _history(folder: Path) -> Iterator[Mapping[str, str]]:
    """The epochs that a run has done, if it was begun."""
    if (folder / HISTORY).exists():
        with (folder / HISTORY).open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
