"""The values of a sweep: what its trials share, where they run, and what came of each."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

from latentloom.checks import UserError
from latentloom.config import Train
from latentloom.files import write_text
from latentloom.records import strict
from latentloom.sweep.space import Value
from latentloom.values import Direction

TRIAL = "trial.json"
ERROR = "error.txt"
# running: begun, and not ended or killed; stopped: by the scheduler, in its first seed.
State = Literal["running", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class Task:
    """What all trials of a sweep share."""

    recipe: str
    base: Train
    folder: Path  # of the sweep
    seeds: int
    monitor: str
    better: Direction
    end: int  # an epoch after the last one of any trial


@dataclass(frozen=True)
class Room:
    """Where trials run, and how much each of them takes."""

    workers: int | None  # trials at a time; None is as many as there is room for
    cpus: float
    gpus: float | None  # None is one where there is any
    address: str | None  # of a cluster; None is this machine


@dataclass(frozen=True)
class Trial:
    """Values of the axes, and how well they did."""

    number: int  # from 0
    values: Mapping[str, Value]
    state: State = "running"
    scores: tuple[float, ...] = ()  # of each seed that was run: its best epoch on validation
    epochs: int = 0  # that were trained, all seeds together
    error: str = ""

    @property
    def score(self) -> float:
        """Mean over the seeds; nan without one."""
        return fmean(self.scores) if self.scores else math.nan


def folder_of(sweep: Path, number: int) -> Path:
    """Where a trial of a sweep is kept."""
    return sweep / "trials" / f"{number:03d}"


def save_trial(trial: Trial, sweep: Path) -> None:
    """Write a trial into its folder, atomically."""
    text = json.dumps(strict(asdict(trial)), indent=1, allow_nan=False) + "\n"
    write_text(folder_of(sweep, trial.number) / TRIAL, text)


def load_trials(sweep: Path) -> tuple[Trial, ...]:
    """The trials of a sweep that have begun, by number."""
    return tuple(sorted(map(_loaded, (sweep / "trials").glob(f"*/{TRIAL}")), key=lambda trial: trial.number))


def _loaded(path: Path) -> Trial:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Trial(**{**fields, "scores": tuple(map(float, fields["scores"]))})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is not the record of a trial ({type(error).__name__}: {error}); delete its folder, and "
            "it is run again"
        ) from error


def best_trial(trials: Iterable[Trial], better: Direction) -> Trial | None:
    """The finished trial with the best score; the first of equals."""
    sign = 1 if better == "higher" else -1
    able = [trial for trial in trials if trial.state == "finished" and math.isfinite(trial.score)]
    return max(able, key=lambda trial: (sign * trial.score, -trial.number), default=None)
