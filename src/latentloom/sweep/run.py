"""One sweep: what is asked for, checked; trials on Ray; the best of them as a recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from latentloom.checks import UserError, check_choice
from latentloom.config import Train
from latentloom.evaluation import SCORES
from latentloom.files import locked, write_text
from latentloom.recipes import load_recipe
from latentloom.records import strict
from latentloom.sweep.result import SweepResult, write_result
from latentloom.sweep.space import Axis, as_mapping, load_space
from latentloom.sweep.trial import Room, Task, Trial, load_trials
from latentloom.training.scoring import FITTED
from latentloom.values import Direction

ASKED = "sweep.json"
SEARCHES = ("tpe", "hyperopt")


def sweep(
    recipe: str,
    overrides: Sequence[tuple[str, str]] = (),
    *,
    space: str,
    trials: int,
    folder: Path,
    seeds: int = 1,
    search: str = "tpe",
    workers: int | None = None,
    cpus: float = 1,
    gpus: float | None = None,
    address: str | None = None,
) -> SweepResult:
    """Search for the values of a space that do best on validation; the test split is not looked at.

    The values of the recipe itself come first, if the space holds them; then those of a TPE searcher.
    ASHA stops trials that fall behind, judged by their first seed, and a seed ends when its score no
    longer moves. A trial's score is the mean over its seeds of the best epoch of each.

    Every trial that ends is written at once. The same call over the same folder goes on: trials that
    ended are not run again, those that had begun go on from their last checkpoint, and with more
    `trials` there are more. What is started anew is ASHA, which forgets whom it compared with.

    Args:
        recipe: name or YAML file.
        overrides: (dotted field, YAML text), for all trials.
        space: name of a packaged search space, or a YAML file.
        trials: how many in all.
        folder: gets best.yaml, trials.csv, trials.md, parallel.html, and trials/NNN/ with the runs, their
            logs and what went wrong. Every node of a cluster must see it under the same path.
        seeds: runs of each trial, with seeds 0 to seeds - 1, one after the other.
        search: tpe, by Optuna; or hyperopt, as in Moving Targets (2023).
        workers: trials at a time; as many as there is room for unless given.
        cpus, gpus: of one trial. Shares of a GPU are possible; without `gpus`, 1 where there is any.
        address: of a running Ray cluster, HOST:PORT or auto. Without it one is started on this machine,
            and ended with the sweep.

    Raises:
        UserError: for anything that can be known before a trial starts; and if no trial has finished.
    """
    _check_counts(trials=trials, seeds=seeds, workers=1 if workers is None else workers)
    check_choice("search", search, SEARCHES)
    base = load_recipe(recipe, overrides)
    axes = load_space(space, base)
    monitor, better = monitored(base)
    task = Task(Path(recipe).stem, quick(base), folder.resolve(), seeds, monitor, better, _end(base, axes))
    room = Room(workers, cpus, gpus, address)
    with _claimed(task.folder, {"recipe": asdict(base), "space": as_mapping(axes), "seeds": seeds}):
        known = load_trials(task.folder)
        if todo := numbers_to_run(known, trials):
            _run(task, axes, search, known, todo, room)
        result = SweepResult(task.recipe, base, axes, load_trials(task.folder), monitor, better, task.folder)
        write_result(result)
    return result


def _run(
    task: Task, axes: Sequence[Axis], search: str, known: Sequence[Trial], todo: Sequence[int], room: Room
) -> None:
    try:
        from latentloom.sweep.engine import run_trials
        from latentloom.sweep.search import searcher_for
    except ImportError as error:
        raise UserError(
            f"a sweep runs on Ray and Optuna ({error}); install them with pip install 'latentloom[sweep]'"
        ) from error
    run_trials(task, searcher_for(search, axes, task.base, known, task.better), todo, known, room)


def monitored(config: Train) -> tuple[str, Direction]:
    """The score that trials are judged by, and which way it improves."""
    name = config.training.monitor
    check_choice("score to monitor", name, [*SCORES, FITTED])
    return name, SCORES[name].better if name in SCORES else "higher"


def quick(base: Train) -> Train:
    """The configuration without what a trial is not judged by, and without the test split."""
    return replace(
        base,
        training=replace(base.training, logger=False, keep_latents=0),
        evaluation=replace(base.evaluation, split="validation", bootstrap=0),
    )


def numbers_to_run(known: Sequence[Trial], trials: int) -> list[int]:
    """Numbers below `trials` of what has not ended, with those first that had begun."""
    begun = [trial.number for trial in known if trial.state == "running" and trial.number < trials]
    there = {trial.number for trial in known}
    return [*begun, *(number for number in range(trials) if number not in there)]


def _end(base: Train, axes: Sequence[Axis]) -> int:
    """An epoch after the last one of any trial."""
    most = [value for axis in axes if axis.field == "training.epochs" for value in axis.ends]
    return max(map(int, most), default=base.training.epochs) + 1


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"--{name} must be at least 1, got {count}")


@contextmanager
def _claimed(folder: Path, asked: Mapping[str, Any]) -> Iterator[None]:
    """Hold the folder for this process; one that holds a sweep of something else is refused."""
    wanted = json.loads(json.dumps(strict(asked)))
    with locked(folder, f"another sweep works in {folder}; wait for it, or choose another --folder"):
        there = (
            json.loads((folder / ASKED).read_text(encoding="utf-8")) if (folder / ASKED).exists() else wanted
        )
        if different := [name for name in wanted if there.get(name) != wanted[name]]:
            raise UserError(
                f"{folder} holds another sweep (differs in its {', '.join(different)}); choose another "
                "--folder, or delete that one"
            )
        write_text(folder / ASKED, json.dumps(wanted, indent=1) + "\n")
        yield
