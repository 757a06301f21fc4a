"""Runs on digits that are killed, by SIGKILL, again and again: each goes on and ends as if it had not been.

LATENTLOOM_KILLS=100 kills so many times, instead of 6, all of them at other moments.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import kills
import pytest

KILLS = int(os.environ.get("LATENTLOOM_KILLS", 6))
SEED = int(os.environ.get("LATENTLOOM_KILLS_SEED", 0))

MEMORY = Path("/dev/shm")

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def said() -> list[dict[str, Any]]:
    """What came of each kill, in a process with one thread."""
    place = tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)  # a disk would be waited for
    each = str(-(-KILLS // len(kills.RUNS)))
    command = [sys.executable, kills.__file__, place, each, str(SEED)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=False
    )
    shutil.rmtree(place)
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def attempts(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in said if "moment" in one]


def test_every_kill_hits_and_every_run_goes_on_and_ends_bitwise_the_same(
    said: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    made = attempts(said)
    assert len(made) >= KILLS
    assert [one for one in made if one["status"] != -signal.SIGKILL] == []
    failed = {(one["run"], one["moment"]): one["differs"] for one in made if one["resumed"] or one["differs"]}
    assert failed == {}
    if "LATENTLOOM_KILLS" in os.environ:
        writes = sum(one["moment"].startswith("checkpoint") for one in made)
        with capsys.disabled():
            print(f"\n{len(made)} of {len(made)} kills bitwise equal, {writes} of them in checkpoint writes")


def test_runs_have_what_kills_are_to_hit(said: list[dict[str, Any]]) -> None:
    whole = {one["run"]: one for one in said if "moments" in one}
    assert whole.keys() == kills.RUNS.keys()
    for one in whole.values():
        kept = {"checkpoint half", "checkpoint written", "checkpoint last.ckpt", "checkpoint best.ckpt"}
        assert one["moments"].keys() >= {"step begins", "step ends", "checkpoint before-last.ckpt", *kept}
    assert 1 < whole["saved after every epoch, stopped early"]["epochs"] < 20


def test_a_run_that_forgot_something_would_be_seen(said: list[dict[str, Any]]) -> None:
    (forgetful,) = [one for one in said if "mistake" in one]
    assert forgetful["resumed"] == 0
    assert {"model.safetensors", "history.csv", "record.json"} <= set(forgetful["differs"])
