"""What happens to a run, how it exits, and that it then goes on, bitwise as if nothing had happened."""

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

import pytest

pytestmark = pytest.mark.faults

MEMORY = Path("/dev/shm")
STOPPED = ["latentloom: stopped; the same command goes on from the last checkpoint"]
DONE = {"code": 0, "said": [], "differs": []}


@pytest.fixture(scope="module")
def came() -> dict[str, Any]:
    """What came of each scene."""
    script = Path(__file__).with_name("breaks.py")
    folder = tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None)  # a disk would be waited for
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), folder], env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    shutil.rmtree(folder)
    assert done.returncode == 0
    return {name: found for line in done.stdout.splitlines() for name, found in json.loads(line).items()}


def assert_goes_on(found: dict[str, Any]) -> None:
    assert {name: found["then"][name] for name in DONE} == DONE, found["then"]["all"]


# Signals


@pytest.mark.parametrize(
    ("scene", "code", "saved"),
    [
        ("SIGTERM", 143, 10),
        ("SIGINT", 130, 10),
        ("SIGTERM in the last step of an epoch", 143, 6),
        ("SIGTERM in the last step of all", 143, 12),
        ("SIGTERM in the first step of all", 143, 1),
    ],
)
def test_a_signal_ends_a_run_after_its_step_with_a_checkpoint(
    scene: str, code: int, saved: int, came: dict[str, Any]
) -> None:
    found = came["signals"][scene]
    assert (found["code"], found["said"], found["saved at"]) == (code, STOPPED, saved)
    assert found["all"].splitlines() == STOPPED
    assert_goes_on(found)


def test_a_second_signal_ends_it_at_once(came: dict[str, Any]) -> None:
    assert (came["impatient"]["code"], came["impatient"]["said"]) == (130, STOPPED)
    assert_goes_on(came["impatient"])


# One folder


def test_the_second_of_two_runs_in_a_folder_is_refused_at_once_and_a_dead_one_holds_nothing(
    came: dict[str, Any],
) -> None:
    found = came["two in one folder"]
    assert found["second"]["code"] == 2
    assert "is in use by another run; wait for it" in found["second"]["said"][0]
    assert found["waited"] < 60
    assert found["first"]["code"] == -signal.SIGKILL
    assert_goes_on(found)


# Disk and clock


def test_a_full_disk_is_one_message_and_destroys_nothing(came: dict[str, Any]) -> None:
    found = came["full disk"]
    (said,) = found["said"]
    assert found["code"] == 2
    assert "no room to write" in said
    assert "MB are free there" in said
    assert "make room, and the same command goes on" in said
    assert found["left"] == ["best.ckpt", "last.ckpt"]
    assert_goes_on(found)


def test_a_clock_that_jumps_changes_nothing(came: dict[str, Any]) -> None:
    found = came["clock"]
    assert found["code"] == 143
    assert_goes_on(found)
    assert min(found["seconds"]) > 0
    assert found["seconds"] == sorted(found["seconds"])  # of stopped and resumed parts together
    assert max(found["seconds"]) < found["wall"]


# Data


def test_images_that_vanish_or_change_are_named_and_the_run_goes_on_when_they_are_back(
    came: dict[str, Any],
) -> None:
    found = came["data"]
    assert found["whole"]["code"] == 0
    for scene, said in {
        "gone": "a/00.bmp does not decode as an image ([Errno 2] No such file or directory",
        "missing": "1 of 90 files of images and labels are not as they were when the run in",
        "other": "1 of 90 files of images and labels are not as they were when the run in",
    }.items():
        assert found[scene]["code"] == 2
        assert said in found[scene]["said"][0]
        assert "a/00.bmp" in found[scene]["said"][0]
    assert_goes_on(found)


# Two processes


@pytest.mark.processes
@pytest.mark.parametrize(
    ("scene", "codes"),
    [("killed", (2, -signal.SIGKILL)), ("SIGTERM", (143, 143)), ("not a number", (2, 2))],
)
def test_what_happens_to_one_of_two_ends_both_soon_with_one_message(
    scene: str, codes: tuple[int, int], came: dict[str, Any]
) -> None:
    first, second = came["of two"][scene]["each"]
    assert (first["code"], second["code"]) == codes
    assert (len(first["said"]), len(second["said"])) == (1, 0)
    said = {
        "killed": "another of the 2 processes has ended, or cannot be reached",
        "SIGTERM": STOPPED[0],
        "not a number": "the loss is not finite at epoch 1, step 9: latent_boost",
    }
    assert said[scene] in first["said"][0]
    assert came["of two"][scene]["seconds"] < 120


@pytest.mark.processes
@pytest.mark.parametrize("scene", ["killed", "SIGTERM", "not a number"])
def test_both_go_on_together_and_end_bitwise_as_they_would_have(scene: str, came: dict[str, Any]) -> None:
    assert [one["code"] for one in came["of two"][scene]["then"]["each"]] == [0, 0]
    assert came["of two"][scene]["differs"] == []
