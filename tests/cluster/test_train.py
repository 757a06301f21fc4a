"""A run whose processes are workers of Ray Train, and what is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from ray.exceptions import RayError
from ray.train import ControllerError, WorkerGroupError
from safetensors.torch import load_file
from torch.testing import assert_close
from two_processes import FIELDS, RECIPE, asked

from latentloom.checks import UserError
from latentloom.cli import main
from latentloom.cluster.train import RAY, _fit, _Refusals, train_on
from latentloom.commands.runs import _ends
from latentloom.training.folder import LAST, WEIGHTS


@pytest.mark.slow
def test_workers_do_what_processes_without_ray_do(
    cluster: Any, plain: Path, alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    flags = [word for name, value in FIELDS.items() for word in (f"--{name}", value)]
    on = ["--cluster", cluster.address, "--workers", "1:4", "--folder", str(folder)]  # there is room for 2
    assert main(["train", RECIPE, *flags, *on]) == 0
    said = capsys.readouterr().out
    assert f"everything is in {folder}" in said
    ours, theirs, single = (load_file(place / WEIGHTS) for place in (folder, plain, alone))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert_close(ours, single, rtol=1e-6, atol=1e-6)
    assert {path.name for path in folder.iterdir()} == {path.name for path in plain.iterdir()}


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes with ps")
def test_a_group_goes_on_with_fewer_workers_when_a_node_is_lost(
    two_nodes: Any, alone: Path, tmp_path: Path
) -> None:
    (cluster, second), folder = two_nodes, tmp_path / "run"

    def lose() -> None:
        end = time.monotonic() + 300
        while not (folder / LAST).exists() and time.monotonic() < end:
            time.sleep(0.05)
        raylet = second.all_processes["raylet"][0].process.pid
        listed = ["ps", "--ppid", str(raylet), "-o", "args="]
        at_work.append(subprocess.run(listed, capture_output=True, text=True, check=False).stdout)
        cluster.remove_node(second, allow_graceful=False)

    at_work = list[str]()
    losing = threading.Thread(target=lose)
    losing.start()
    record = train_on(cluster.address, asked(), folder, recipe=RECIPE, workers=(1, 2))
    losing.join()
    assert "RayTrainWorker" in at_work[0]
    assert "processes" not in record.hardware  # the one that was left
    assert_close(load_file(folder / WEIGHTS), load_file(alone / WEIGHTS), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_what_the_run_refuses_ends_it_at_once(cluster: Any, tmp_path: Path) -> None:
    config = asked()
    nowhere = replace(config, data=replace(config.data, name="mnist", root=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="mnist") as caught:
        train_on(cluster.address, nowhere, tmp_path / "run", recipe=RECIPE)
    assert "given up" not in str(caught.value)
    assert not (tmp_path / "run" / RAY).exists()


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ((0, 1), r"wanted at least one worker, got --workers 0:1"),
        ((2, 1), r"wanted at least one worker, got --workers 2:1"),
        ((3, 3), r"3 workers of a core each are asked for, and the cluster has room for 2; .* --workers 1:3"),
    ],
)
def test_groups_that_cannot_be(workers: tuple[int, int], said: str, cluster: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        train_on(cluster.address, asked(), tmp_path / "run", recipe=RECIPE, workers=workers)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--workers", "2"], "--workers are of a cluster; on this machine ask for --training.devices"),
        (["--cluster", "auto", "--workers", "two"], "the least and the most as 1:4; got 'two'"),
    ],
)
def test_workers_of_the_command(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "baseline", *more]) == 2
    assert said in capsys.readouterr().err


def test_the_least_and_the_most() -> None:
    assert _ends("3") == (3, 3)
    assert _ends("1:4") == (1, 4)


class Trainer:
    """Ends as it is told to, and takes the interrupt for itself, as Ray's does."""

    def __init__(self, fit: Callable[[], None]) -> None:
        self.end = fit

    def fit(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.end()


def raising(error: Exception) -> Callable[[], None]:
    def end() -> None:
        raise error

    return end


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            WorkerGroupError("no memory", {0: MemoryError()}),
            r"given up: .*\n?no memory; the same command goes on",
        ),
        (ControllerError(OSError("disk full")), r"given up: disk full; the same command goes on"),
        (RayError("the head died"), r"given up: the head died; the same command goes on"),
        (ControllerError(UserError("no data; get them")), r"^no data; get them$"),
    ],
)
def test_how_a_run_ends_badly(error: Exception, said: str, tmp_path: Path) -> None:
    (tmp_path / RAY).mkdir()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(UserError, match=said):
        _fit(cast(Any, Trainer(raising(error))), tmp_path)
    assert not (tmp_path / RAY).exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_only_mistakes_of_the_user_end_a_run_at_once() -> None:
    _Refusals().after_exception(None, {0: RuntimeError("connection closed by peer")})
    with pytest.raises(UserError, match="no data"):
        _Refusals().after_exception(None, {0: RuntimeError("closed"), 1: UserError("no data")})
