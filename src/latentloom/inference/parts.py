"""A long table that is written in parts, so that what is cut off goes on, and joined when it is whole."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import csv, parquet

from latentloom.checks import UserError
from latentloom.files import atomically, locked, remove_parts, write_text

IN_PART = 1024  # images: what is lost when a process is killed
ASKED = "asked.json"
SKIPPED = b"skipped"  # in the metadata of a part
WRITERS = {".parquet": parquet.ParquetWriter, ".csv": csv.CSVWriter}


@dataclass(frozen=True)
class Parts:
    """The folder OUT.parts beside a table that is to be written, a Parquet file for every 1,024 images."""

    out: Path
    folder: Path
    paths: Sequence[str]

    def missing(self) -> list[int]:
        """The parts that are still to be made."""
        return [k for k in range(self.count) if not self._file(k).exists()]

    @property
    def count(self) -> int:
        """How many there are to be."""
        return -(-len(self.paths) // IN_PART)

    def paths_of(self, k: int) -> Sequence[str]:
        """The images of a part."""
        return self.paths[k * IN_PART : (k + 1) * IN_PART]

    def write(self, k: int, table: pyarrow.Table, skipped: Sequence[tuple[str, str]]) -> None:
        """Keep a part; files that did not decode go with it, so that they are known when all is done."""
        with atomically(self._file(k)) as part:
            parquet.write_table(table.replace_schema_metadata({SKIPPED: json.dumps(skipped)}), part)

    def skipped(self) -> list[tuple[str, str]]:
        """Path and reason of every file that did not decode."""
        kept = (parquet.read_schema(self._file(k)).metadata[SKIPPED] for k in range(self.count))
        return [(path, reason) for text in kept for path, reason in json.loads(text)]

    def join(self) -> None:
        """Write the table, of all parts in their order; the file name says which kind."""
        tables = (parquet.read_table(self._file(k)).replace_schema_metadata() for k in range(self.count))
        filled = (table for table in tables if table.num_rows)
        first = next(filled, None)
        if first is None:
            path, reason = self.skipped()[0]
            for k in range(self.count):  # so that mended files are looked at again
                self._file(k).unlink()
            raise UserError(f"none of {len(self.paths)} files decodes as an image; {path}: {reason}")
        with atomically(self.out) as part, WRITERS[self.out.suffix](part, first.schema) as writer:
            writer.write_table(first)
            for table in filled:
                writer.write_table(table)

    def _file(self, k: int) -> Path:
        return self.folder / f"{k:08}.parquet"


@contextmanager
def parts_for(out: Path, paths: Sequence[str], asked: dict[str, Any], overwrite: bool) -> Iterator[Parts]:
    """The parts of a table, those that an earlier process left included; gone when the block ends well.

    Args:
        out: the table, .parquet or .csv; it must not exist, unless it is to be overwritten.
        paths: of all images.
        asked: whatever else the table depends on. Parts of another table are refused, or thrown away
            where `overwrite` is true.
        overwrite: replace the table.
    """
    check_out(out, overwrite)
    folder = out.with_name(f"{out.name}.parts")
    with locked(folder, f"{out} is being written by another process; wait for it, or choose another"):
        remove_parts(folder)
        remove_parts(out.parent, glob.escape(out.name))
        _keep(folder, {**asked, "images": len(paths), "paths": _hash(paths)}, overwrite)
        yield Parts(out, folder, paths)
    shutil.rmtree(folder)


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse a kind of file that is not written, and one that exists unless it is to be overwritten."""
    if out.suffix not in WRITERS:
        raise UserError(f"{out} ends in {out.suffix or 'nothing'}; wanted {' or '.join(WRITERS)}")
    if out.exists() and not overwrite:
        raise UserError(f"there is {out} already; choose another --out, or say --overwrite")


def _keep(folder: Path, asked: dict[str, Any], overwrite: bool) -> None:
    """Note what the parts are of; those of something else are refused, or thrown away."""
    path = folder / ASKED
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else asked
    if differing := [name for name in asked if there.get(name) != asked[name]]:
        if not overwrite:
            raise UserError(
                f"{folder} holds the beginning of another table (differs in {', '.join(differing)}); delete "
                "it, choose another --out, or say --overwrite"
            )
        for part in folder.glob("*.parquet"):
            part.unlink()
    write_text(path, json.dumps(asked))


def _hash(paths: Sequence[str]) -> str:
    return hashlib.sha256(b"\0".join(map(os.fsencode, paths))).hexdigest()[:16]
