"""Ray Tune at work: a cluster, trials on it, and what becomes of each of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from latentloom.checks import UserError
from latentloom.cluster.connect import LOCAL, connected, gpus_each, nodes, there
from latentloom.files import write_text
from latentloom.sweep.search import Numbered
from latentloom.sweep.trial import ERROR, Room, Task, Trial, best_trial, folder_of, save_trial
from latentloom.sweep.worker import EPOCH, SCORE, run_trial

RAY = "ray"
GRACE = 5  # epochs before ASHA may stop a trial, as in Moving Targets (2023)
RESTARTS = 2  # of a trial whose worker or node died
STEPS = 100  # of Ray's loop between looks at the nodes; a step that has nothing to do takes 0.1 s


def run_trials(
    task: Task, searcher: Searcher, numbers: Sequence[int], known: Sequence[Trial], room: Room
) -> None:
    """Run the trials of these numbers, each of which ends in its trial.json.

    Args:
        task: what they share.
        searcher: where their values come from.
        numbers: of the trials, in the order in which they are suggested.
        known: trials of before.
        room: where to run.
    """
    shutil.rmtree(task.folder / RAY, ignore_errors=True)
    with connected(room.address or LOCAL), _progress() as bar:
        ledger = Ledger(task, known, bar, len(numbers))
        tune.Tuner(
            tune.with_resources(tune.with_parameters(run_trial, task=task), _resources(room)),
            tune_config=tune.TuneConfig(
                search_alg=Numbered(searcher, numbers),
                scheduler=ASHAScheduler(
                    EPOCH,
                    SCORE,
                    mode=searcher.mode,
                    max_t=task.end,
                    grace_period=min(GRACE, task.end),
                ),
                num_samples=len(numbers),
                max_concurrent_trials=room.workers,
                reuse_actors=True,  # a new worker would import torch again
                trial_dirname_creator=lambda trial: f"{trial.config['number']:03d}",
            ),
            run_config=tune.RunConfig(
                name=RAY,
                storage_path=str(task.folder),
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                callbacks=[ledger],
                verbose=0,
            ),
        ).fit()
    shutil.rmtree(task.folder / RAY, ignore_errors=True)  # pickles of Ray's that nothing reads


class Ledger(tune.Callback):
    """Keeps each trial in its folder as it begins and ends, and moves the bar."""

    def __init__(self, task: Task, known: Sequence[Trial], bar: Progress, total: int) -> None:
        self.task = task
        self.trials = list(known)
        self.bar = bar
        self.line = bar.add_task("trials", total=total)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Ray pickles its callbacks to go on by itself, which is not used; a bar has no pickle."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any]) -> None:  # type: ignore[override]
        """Ray itself would wait for a node for ever."""
        if iteration % STEPS == 0 and not any(node["Alive"] for node in nodes()):
            raise UserError(
                f"every node of the Ray cluster has died; the same sweep of {self.task.folder} goes on"
            )

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any) -> None:  # type: ignore[override]
        save_trial(Trial(trial.config["number"], trial.config["values"]), self.task.folder)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any) -> None:  # type: ignore[override]
        self._ended(ended(trial.config, trial.last_result, self.task.end))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any) -> None:  # type: ignore[override]
        text = Path(trial.error_file).read_text(encoding="utf-8")
        write_text(folder_of(self.task.folder, trial.config["number"]) / ERROR, text)
        result = {**trial.last_result, "error": f"its worker died: {text.strip().splitlines()[-1]}"}
        self._ended(ended(trial.config, result, self.task.end))

    def _ended(self, trial: Trial) -> None:
        folder = folder_of(self.task.folder, trial.number)
        save_trial(trial, self.task.folder)
        if trial.state != "failed":
            for checkpoints in folder.glob("seed-*/checkpoints"):
                shutil.rmtree(checkpoints)
        self.trials.append(trial)
        best = best_trial(self.trials, self.task.better)
        so_far = f", best {self.task.monitor} {best.score:.4f}" if best else ""
        self.bar.update(self.line, advance=1, description=f"trial {trial.number} {trial.state}{so_far}")


def ended(config: Mapping[str, Any], result: Mapping[str, Any], end: int) -> Trial:
    """A trial from the last that was heard of it; `end` is the epoch that only a whole one reports."""
    error, whole = str(result.get("error", "")), result.get(EPOCH) == end
    return Trial(
        config["number"],
        config["values"],
        state="failed" if error else "finished" if whole else "stopped",
        scores=tuple(result.get("scores", ())),
        epochs=result.get("epochs", 0),
        error=error,
    )


def _resources(room: Room) -> dict[str, float]:
    """What a trial takes; refused where no node has as much, since Ray would wait for one for ever."""
    gpus = gpus_each("auto") if room.gpus is None else room.gpus
    rooms = list(zip(there("CPU"), there("GPU"), strict=True))
    if not any(room.cpus <= c and gpus <= g for c, g in rooms):
        most = "; ".join(f"{c:g} CPUs and {g:g} GPUs" for c, g in rooms)
        raise UserError(
            f"a trial wants {room.cpus:g} CPUs and {gpus:g} GPUs, but there is no such node: {most}"
        )
    return {"cpu": room.cpus, "gpu": gpus}


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, transient=True)
