"""A sweep on a cluster of two Ray nodes, one of which dies under way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from latentloom.sweep.trial import load_trials

pytest.importorskip("ray")
from ray.cluster_utils import Cluster

pytestmark = [
    # Ray ends its processes and does not ask how they ended.
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Popen.__del__"),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes with ps"),
]
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
TRIALS = 4
SWEEP = f"""
import sys
from pathlib import Path
from latentloom.sweep import sweep

overrides = [tuple(pair.split("=", 1)) for pair in sys.argv[4:]]
space, folder, address = sys.argv[1:4]
sweep("baseline", overrides, space=space, trials={TRIALS}, folder=Path(folder), address=address)
"""
# Batches of one image make a trial longer than the start of a worker, half a minute on two cores: Tune gives
# up a worker that still starts when another has become free.
OVERRIDES = [
    "data.name=digits",
    "data.batch=1",
    "data.size=24",
    "model.encoder=small_cnn",
    "training.epochs=6",
    "training.accelerator=cpu",
]


@pytest.fixture
def cluster(monkeypatch):
    folder = tempfile.mkdtemp(prefix="ray")  # sockets lie in it, whose paths must be short
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield cluster
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def trains(node: Any) -> bool:
    """Whether a trial runs on a node: its raylet is the parent of a worker that bears a trial's name."""
    raylet = node.all_processes["raylet"][0].process.pid
    shown = subprocess.run(["ps", "--ppid", str(raylet), "-o", "args="], capture_output=True, text=True)
    return "ray::ImplicitFunc" in shown.stdout


def states(folder: Path) -> list[str]:
    return [json.loads(path.read_text())["state"] for path in folder.glob("trials/*/trial.json")]


def test_a_sweep_runs_on_both_nodes_and_outlives_one_of_them(cluster, tmp_path):
    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    (tmp_path / "space.yaml").write_text("training.lr: {loguniform: [1.0e-4, 1.0e-3]}\n")
    folder = tmp_path / "sweep"
    asked = [str(tmp_path / "space.yaml"), str(folder), cluster.address, *OVERRIDES]
    process = subprocess.Popen([sys.executable, "-c", SWEEP, *asked])
    try:
        end = time.monotonic() + 300
        while not (trains(cluster.head_node) and trains(second) and states(folder).count("running") == 2):
            assert process.poll() is None, "the sweep ended before both nodes were at work"
            assert time.monotonic() < end, "no trial on both nodes at a time"
            time.sleep(0.1)
        cluster.remove_node(second, allow_graceful=False)
        assert process.wait(300) == 0
    finally:
        process.kill()
        process.wait()
    trials = load_trials(folder)
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} <= {"finished", "stopped"}
    assert all(trial.epochs >= 1 for trial in trials)
    assert (folder / "best.yaml").exists()
