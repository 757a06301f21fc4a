"""Writing that is done whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloom.checks import UserError


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name `path` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.touch()
    rights = part.stat().st_mode  # of a new file here; some libraries write files that only their owner reads
    part.unlink()
    try:
        yield part
        part.chmod(rights)
        os.replace(part, path)
    finally:
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


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomically(path) as part:
        part.write_text(text, encoding="utf-8")


def file_name(text: str) -> str:
    """`text` as a file's name, with - for what a file system may refuse."""
    return "".join(c if c.isalnum() or c in "-_.=," else "-" for c in text)
