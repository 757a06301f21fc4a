"""Writing that is done whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.files import atomically, write_text


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
