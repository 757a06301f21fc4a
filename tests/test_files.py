"""Writing that is done whole or not at all."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy
import pandas
import pyarrow
import pytest
import torch
from pyarrow import csv, parquet
from safetensors.torch import save_file

from latentloom.checks import UserError
from latentloom.files import atomically, remove_parts, write_text


def test_text_is_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "größer ≥ 1\n")
    assert path.read_bytes() == "größer ≥ 1\n".encode()
    write_text(path, "b")
    assert path.read_text() == "b"
    assert list(path.parent.iterdir()) == [path]


def test_old_content_stands_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomically(path) as part:
        part.write_text("new")
        assert part.parent == path.parent  # a rename is atomic only inside one file system
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def write_half(path: Path, error: BaseException) -> None:
    with atomically(path) as part:
        part.write_text("half of the n")
        raise error


@pytest.mark.parametrize("error", [RuntimeError("no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", ["old", None])
def test_failure_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, error: BaseException, old: str | None
) -> None:
    path = tmp_path / "a.txt"
    if old is not None:
        path.write_text(old)
    with pytest.raises(type(error)):
        write_half(path, error)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == ({"a.txt": old} if old else {})


def test_failure_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomically(tmp_path / "a.txt"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_whoever_may_read_a_new_file_may_read_what_a_library_wrote(tmp_path):
    (tmp_path / "new").touch()
    with atomically(tmp_path / "a.txt") as part:
        part.write_text("a")
        part.chmod(0o600)
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "new").stat().st_mode


# No room

POINTS = pandas.DataFrame({"z": numpy.arange(20_000.0)})
TABLE = pyarrow.Table.from_pandas(POINTS)


@contextmanager
def no_room() -> Iterator[None]:
    """What is written to a file beyond 1,000 bytes is refused by the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.faults
@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_text("x" * 20_000),
        lambda path: path.write_bytes(bytes(20_000)),
        lambda path: save_file({"z": torch.zeros(20_000)}, path),
        lambda path: parquet.write_table(TABLE, path),
        lambda path: csv.write_csv(TABLE, path),
        lambda path: POINTS.to_parquet(path, index=False),
    ],
    ids=["text", "bytes", "safetensors", "parquet", "csv", "pandas"],
)
def test_no_room_is_one_message_whoever_writes_and_the_old_file_stands(
    write: Callable[[Path], object], tmp_path: Path
) -> None:
    write_text(tmp_path / "a", "old")
    said = r"no room to write .*/a \([0-9.]+ MB are free there\); .* make room, and the same command goes on"
    with no_room(), pytest.raises(UserError, match=said), atomically(tmp_path / "a") as part:
        write(part)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}
    with atomically(tmp_path / "a") as part:
        write(part)
    assert (tmp_path / "a").stat().st_size > 1000


@pytest.mark.faults
def test_what_killed_processes_left_is_removed_by_name(tmp_path: Path) -> None:
    for name in (".a.csv.7.part", ".a.csv.8.part", ".b.csv.7.part", "a.csv", "c.part"):
        (tmp_path / name).touch()
    remove_parts(tmp_path, "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.csv.7.part", "a.csv", "c.part"]
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "c.part"]


def test_what_was_there_can_be_kept(tmp_path: Path) -> None:
    for text in "one", "two", "three":
        with atomically(tmp_path / "a", before=tmp_path / "b") as part:
            part.write_text(text)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "three", "b": "two"}
