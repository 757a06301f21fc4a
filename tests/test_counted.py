"""Tests of several processes and of faults are counted, and none of them is skipped unseen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.processes
def test_a(): pass

@pytest.mark.faults
@pytest.mark.processes
def test_b(): pass

@pytest.mark.faults
@pytest.mark.skipif({skip}, reason="as it pleases")
def test_c(): pass

@pytest.mark.skip(reason="not counted")
def test_d(): pass
"""


@pytest.mark.parametrize(
    ("skip", "ci", "workers", "code", "said"),
    [
        (False, "true", "0", 0, "passed 3"),
        (True, "", "0", 0, "passed 2, skipped 1"),
        (True, "true", "0", 1, "passed 2, skipped 1"),
        (True, "true", "2", 1, "passed 2, skipped 1"),
    ],
)
def test_skipped_ones_fail_in_ci_and_the_closing_line_stays_the_last(
    skip: bool, ci: str, workers: str, code: int, said: str, tmp_path: Path
) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  processes\n  faults\n")
    (tmp_path / "test_it.py").write_text(TESTS.format(skip=skip))
    command = [sys.executable, "-m", "pytest", "-q", "-n", workers, "-p", "no:cacheprovider", str(tmp_path)]
    environment = {**os.environ, "CI": ci, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == code, done.stdout
    assert f"tests 2 of several processes, 2 of faults: {said}" in lines
    assert " in " in lines[-1]
    assert "passed" in lines[-1]
    assert ("none of these may be skipped in CI" in lines) == (code == 1)


def test_a_file_that_is_skipped_as_a_whole_counts_by_the_marks_in_it(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  processes\n  faults\n")
    left_out = "import pytest\npytest.importorskip('no_such_package')\n"
    for name, more, code in (("plain", "", 0), ("marked", "pytestmark = pytest.mark.faults", 1)):
        (tmp_path / f"test_{name}.py").write_text(f"{left_out}{more}\ndef test_a(): pass")
        (tmp_path / "test_other.py").write_text("def test_b(): pass")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        environment = {**os.environ, "CI": "true", "PYTEST_ADDOPTS": ""}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr


def test_sessions_without_them_say_nothing(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text("def test_a(): pass")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "tests" not in done.stdout
