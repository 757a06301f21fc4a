"""A sweep that is killed: nothing that was done is lost or done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from latentloom.sweep import sweep
from latentloom.sweep.trial import load_trials

pytestmark = [
    # Ray ends its processes and does not ask how they ended.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Popen.__del__"),
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc"),
]
# Long enough to be killed in the middle; a plateau would end them.
LONG = [
    ("data.name", "digits"),
    ("data.limit", "600"),
    ("model.encoder", "mlp"),
    ("training.epochs", "4"),
    ("training.accelerator", "cpu"),
]
SPACE = "training.lr: {loguniform: [1.0e-4, 1.0e-3]}\n"
KILLED = """
import sys
from pathlib import Path
from latentloom.sweep import sweep

overrides = [tuple(pair.split("=", 1)) for pair in sys.argv[3:]]
sweep("baseline", overrides, space=sys.argv[1], trials=6, folder=Path(sys.argv[2]), workers=1)
"""


@pytest.fixture
def space(tmp_path) -> str:
    (tmp_path / "space.yaml").write_text(SPACE)
    return str(tmp_path / "space.yaml")


def wait_for(what: Callable[[], object], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def ended(folder: Path) -> list[Path]:
    trials = folder.glob("trials/*/trial.json")
    return [path for path in trials if json.loads(path.read_text())["state"] in ("finished", "stopped")]


def begun(folder: Path) -> bool:
    """Whether a trial is in the middle of training."""
    return any(
        json.loads(path.read_text())["state"] == "running" and list(path.parent.glob("seed-0/history.csv"))
        for path in folder.glob("trials/*/trial.json")
    )


def test_killed_half_way_and_started_again(space, tmp_path):
    folder = tmp_path / "sweep"
    pairs = [f"{field}={text}" for field, text in LONG]
    process = subprocess.Popen([sys.executable, "-c", KILLED, space, str(folder), *pairs])
    wait_for(lambda: len(ended(folder)) >= 2 and begun(folder))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in ended(folder)}
    known = {trial.number: dict(trial.values) for trial in load_trials(folder)}
    half = [trial.number for trial in load_trials(folder) if trial.state == "running"]
    assert half
    result = sweep("baseline", LONG, space=space, trials=6, folder=folder, workers=1)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3, 4, 5]
    assert {trial.state for trial in result.trials} <= {"finished", "stopped"}
    assert {path: path.stat().st_mtime_ns for path in before} == before  # none of them ran twice
    assert {number: dict(result.trials[number].values) for number in known} == known
    assert len({trial.values["training.lr"] for trial in result.trials}) == 6
