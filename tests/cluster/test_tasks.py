"""Many runs as tasks of Ray: each as it would be without, a dead worker's among them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from ray.exceptions import WorkerCrashedError
from safetensors.torch import load_file
from two_processes import RECIPE, asked

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.cluster import tasks
from latentloom.cluster.tasks import Runs, runs_on
from latentloom.training.compare import Cell, run_cells
from latentloom.training.folder import LAST, RECORD, WEIGHTS

QUICK = {
    "data.limit": "200",
    "model.encoder": "mlp",
    "training.epochs": "1",
    "training.logger": "false",
    "training.keep_latents": "0",
    "training.accelerator": "cpu",
    "evaluation.bootstrap": "10",
}


def quick(folder: Path, seed: int = 0, **data: str) -> Cell:
    config = asked()
    short = replace(config.training, epochs=1, checkpoint_steps=0)
    limited = replace(config.data, limit=200, **data)
    return Cell(RECIPE, replace(config, seed=seed, data=limited, training=short), folder)


def kill_task(raylet: int, folder: Path, killed: list[int]) -> None:
    """Kill the worker that does a task, once its run has a checkpoint."""
    end = time.monotonic() + 300
    while not (folder / LAST).exists() and time.monotonic() < end:
        time.sleep(0.02)
    listed = ["ps", "--ppid", str(raylet), "-o", "pid=,args="]
    lines = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.splitlines()
    (pid,) = [int(line.split()[0]) for line in lines if "ray::_run" in line]
    os.kill(pid, signal.SIGKILL)
    killed.append(pid)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes with ps")
def test_a_run_whose_worker_is_killed_goes_on_and_the_others_are_done(
    cluster: Any, alone: Path, tmp_path: Path
) -> None:
    long, bad = (
        Cell(RECIPE, asked(), tmp_path / "long"),
        quick(tmp_path / "bad", name="mnist", root="nowhere"),
    )
    raylet = cluster.head_node.all_processes["raylet"][0].process.pid
    killed: list[int] = []
    with runs_on(cluster.address, tmp_path, workers=1) as runs:
        killer = threading.Thread(target=kill_task, args=(raylet, long.folder, killed))
        killer.start()
        runs.run([long])
        killer.join()
        assert len(killed) == 1
        with pytest.raises(UserError, match="mnist") as caught:
            runs.run([bad, quick(tmp_path / "good")])
    assert any("in latent-boost" in note for note in caught.value.__notes__)
    assert (tmp_path / "good" / RECORD).exists()
    ours, theirs = load_file(long.folder / WEIGHTS), load_file(alone / WEIGHTS)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_compare_on_a_cluster_is_compare(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [word for name, value in QUICK.items() for word in (f"--{name}", value)]
    order = ["compare", "baseline", "magnet", "--seeds", "1", *flags]
    assert main([*order, "--folder", str(tmp_path / "on"), "--cluster", cluster.address]) == 0
    told = capsys.readouterr().out
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as many as Ray gives a task of one core
    assert main([*order, "--folder", str(tmp_path / "off")]) == 0
    torch.set_num_threads(before)
    words, others = told.split(), capsys.readouterr().out.split()
    assert words[:6] == others[:6]
    assert (words[-1], others[-1]) == (str(tmp_path / "on/report.html"), str(tmp_path / "off/report.html"))
    for label in ("baseline", "magnet"):
        on, off = (load_file(tmp_path / place / label / "seed-0" / WEIGHTS) for place in ("on", "off"))
        assert all(torch.equal(on[name], off[name]) for name in off)


def test_a_finished_run_is_read(tmp_path: Path) -> None:
    cell = quick(tmp_path)
    (record,) = run_cells([cell])
    runs = Runs(workers=None)
    runs.plan([cell])
    assert runs.run([cell, cell])[0].seconds == record.seconds
    assert not runs.begun


def test_no_more_runs_at_a_time_than_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = deque[Path](), list[int]()

    class Task:
        def options(self, num_gpus: float) -> Task:
            return self

        def remote(self, cell: Cell) -> Path:
            at_work.append(cell.folder)
            most.append(len(at_work))
            return cell.folder

    monkeypatch.setattr(tasks, "_run", Task())
    monkeypatch.setattr(tasks, "gpus_each", lambda accelerator: 0.0)
    monkeypatch.setattr(ray, "wait", lambda refs, num_returns: ([at_work.popleft()], []))
    monkeypatch.setattr(ray, "get", lambda ref: UserError(str(ref)))
    cells = [quick(tmp_path / str(k)) for k in range(5)]
    runs = Runs(workers=2)
    runs.plan(cells)
    with pytest.raises(UserError, match=r"3$"):
        runs.run(cells[3:4])
    assert max(most) == 2
    assert len(runs.done) == 4  # and the fifth was begun beside it
    assert list(runs.begun.values()) == [tmp_path / "4"]


def test_a_worker_that_dies_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(ref: Any) -> None:
        raise WorkerCrashedError

    monkeypatch.setattr(ray, "get", get)
    outcome = tasks._got(None)
    assert isinstance(outcome, UserError)
    assert "the same command goes on from its checkpoint" in str(outcome)


def test_no_workers() -> None:
    with pytest.raises(UserError, match="--workers must be at least 1, got 0"), runs_on("auto", Path(), 0):
        pass
