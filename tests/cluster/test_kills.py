"""Workers of Ray Train that are killed at random moments: the run ends as if they had not been.

LATENTLOOM_KILLS=20 kills as many; two otherwise.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from two_processes import RECIPE, WORLD, asked

from latentloom.cluster.connect import RESTARTS
from latentloom.cluster.train import train_on
from latentloom.training.folder import LAST, WEIGHTS

KILLS = int(os.environ.get("LATENTLOOM_KILLS", "2"))
IN_A_RUN = 5
WINDOW = 3.0  # seconds after the first checkpoint of a group of workers, over which it is killed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.faults,
    pytest.mark.processes,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes with ps"),
]


class Killer(threading.Thread):
    """Kills one worker of each group, at a random moment after the group has begun to train."""

    def __init__(self, node: Any, folder: Path, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.raylet = node.all_processes["raylet"][0].process.pid
        self.folder = folder
        self.left = kills
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.killed: list[float] = []  # seconds since the start

    def run(self) -> None:
        start, known = time.monotonic(), set[int]()
        while self.left and not self.over.wait(0.02):
            group = self.workers() - known
            if len(group) == WORLD and self.trains_since(time.time()):
                time.sleep(self.random.uniform(0, WINDOW))
                known |= group
                if self.over.is_set():
                    return
                os.kill(self.random.choice(sorted(group)), signal.SIGKILL)
                self.killed.append(time.monotonic() - start)
                self.left -= 1

    def workers(self) -> set[int]:
        listed = ["ps", "--ppid", str(self.raylet), "-o", "pid=,args="]
        lines = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.splitlines()
        return {int(line.split()[0]) for line in lines if "RayTrainWorker" in line}

    def trains_since(self, moment: float) -> bool:
        """Whether a checkpoint is written after this moment; waits for one."""
        while not self.over.wait(0.02):
            try:
                if (self.folder / LAST).stat().st_mtime > moment:
                    return True
            except FileNotFoundError:
                continue
        return False


def test_a_run_whose_workers_are_killed_ends_with_the_same_weights(
    cluster: Any, plain: Path, tmp_path: Path
) -> None:
    assert IN_A_RUN <= RESTARTS
    wanted, killed, runs = load_file(plain / WEIGHTS), list[float](), 0
    while len(killed) < KILLS:
        folder = tmp_path / f"run-{runs}"
        killer = Killer(cluster.head_node, folder, min(IN_A_RUN, KILLS - len(killed)), seed=runs)
        killer.start()
        start = time.monotonic()
        try:
            record = train_on(cluster.address, asked(), folder, recipe=RECIPE, workers=(WORLD, WORLD))
        finally:
            killer.over.set()
            killer.join()
        found = load_file(folder / WEIGHTS)
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        assert record.hardware.endswith(f", {WORLD} processes")
        moments = ", ".join(f"{moment:.1f}" for moment in killer.killed)
        print(f"run {runs}: killed after {moments} s, done after {time.monotonic() - start:.1f} s")
        killed += killer.killed
        runs += 1
        assert killer.killed, "the run was over before it could be killed"
    print(f"{len(killed)} kills in {runs} runs, all ended with the weights of the run without Ray")
