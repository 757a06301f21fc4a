"""Writing that is done whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloom.checks import UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room on the disk, in the quota, in a file


class FullError(UserError):
    """There is no room to write a file; what was there before is untouched."""


@contextmanager
def atomically(path: Path, *, lasting: bool = True, before: Path | None = None) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name `path` when the block ends well.

    Where there is no room, the error says so, and how much there is.

    Args:
        path: the file.
        lasting: wait until the disk has it, so that it outlives a loss of power; without, it may then be
            gone, or empty.
        before: takes the file that is at `path` now, which is otherwise replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with full_disk_told(path):
        try:
            part.touch()
            rights = part.stat().st_mode  # of a new file here; some libraries' files only their owner reads
            part.unlink()
            yield part
            part.chmod(rights)
            if lasting:
                _settle(part)
            if before is not None and path.exists():
                os.replace(path, before)
            os.replace(part, path)
            if lasting:
                _settle(path.parent)
        finally:
            part.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def full_disk_told(path: Path) -> Iterator[None]:
    """Any library's error for want of room as one message: what could not be written, and what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        # Some libraries hand on the system's words alone.
        if getattr(error, "errno", None) not in FULL and not any(os.strerror(n) in str(error) for n in FULL):
            raise
        free = shutil.disk_usage(path if path.is_dir() else path.parent).free
        raise FullError(
            f"no room to write {path} ({free / 1e6:.1f} MB are free there); all that was written before is "
            "whole: make room, and the same command goes on from there"
        ) from error


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left half-written of files of a folder that nobody writes to now."""
    for part in folder.glob(f".{name}.*.part"):
        part.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Make the folder and hold it for this process; where another holds it, the refusal is raised."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(refusal) from None
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str, *, lasting: bool = True) -> None:
    """Write `text` as UTF-8, atomically; see `atomically`."""
    with atomically(path, lasting=lasting) as part:
        part.write_text(text, encoding="utf-8")


def file_name(text: str) -> str:
    """`text` as a file's name, with - for what a file system may refuse."""
    return "".join(c if c.isalnum() or c in "-_.=," else "-" for c in text)
