"""Points and labels from files of anyone: .parquet, .npz or .npy."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from latentloom.checks import UserError, reason

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

T = TypeVar("T")
LISTS = ("latent", "z", "embedding")  # columns of a table that hold a whole point
LABELS = ("y", "label")  # columns that hold its class
TRAIN = "train"  # in the column split
# Of a table these are read together: rows, columns (of each, some megabytes are held), and bytes of a
# column, for a row group may be the whole table.
ROWS, COLUMNS, BUFFER = 2**13, 16, 2**16


@dataclass(frozen=True)
class Points:
    """What a file holds."""

    z: np.ndarray  # (n, d); of a .npy file in that file, read when it is needed
    y: np.ndarray | None  # (n,) whole numbers or names; None where the file has none
    trained: np.ndarray | None = None  # (n,) bool: rows of the training split, where the file tells


def read_points(path: Path) -> Points:
    """The points in a file, with their labels where it has them; no pickle is executed.

    A .parquet file has the columns z_0 ... z_{d-1}, or a column of lists called latent, z or embedding;
    and y or label, whole numbers or names. It is read group by group of rows into float32. A column split
    that says train tells rows of the training split from others. An .npz file has the arrays z (n, d) and
    y (n,), a .npy file z alone.
    """
    readers = {".parquet": _read_parquet, ".npz": _read_npz, ".npy": _read_npy}
    if not path.exists():
        raise UserError(f"there is no {path}; give a run's folder, or a .parquet, .npz or .npy file")
    if path.suffix not in readers:
        raise UserError(f"{path.name} is neither .parquet nor .npz nor .npy; latents are read from these")
    points = _readable(path, readers[path.suffix], "latents", "z and y")
    if points.z.ndim != 2:
        raise UserError(f"{path}: z must be numbers (n, d), got {points.z.dtype} {points.z.shape}")
    return points


def read_labels(path: Path) -> np.ndarray:
    """Labels (n,) from a .npy file, or from a text with one in each line: whole numbers or names."""
    if path.suffix == ".npy":
        return _readable(path, lambda path: np.load(path, allow_pickle=False), "labels", "numbers or names")
    lines = read_lines(path)
    if all(re.fullmatch(r"-?\d{1,18}", line) for line in lines):
        return np.array(lines, dtype=np.int64)
    return np.array(lines)


def read_lines(path: Path) -> list[str]:
    """The lines of a text in UTF-8, without the space around them."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot read {path} ({reason(error)}); wanted a text with a name in each line"
        ) from error


def _readable(path: Path, read: Callable[[Path], T], what: str, wanted: str) -> T:
    try:
        return read(path)
    except UserError:
        raise
    except ModuleNotFoundError as error:
        raise UserError(
            f"reading {path.name} needs {error.name}; install it with: pip install 'latentloom[train]'"
        ) from error
    except Exception as error:  # damaged files raise nearly anything
        raise UserError(f"cannot read {what} from {path}: {reason(error)}; wanted {wanted}") from error


def _read_npy(path: Path) -> Points:
    # A private copy of the pages that are written to, of which there are none.
    return Points(np.load(path, mmap_mode="c", allow_pickle=False), None)


def _read_npz(path: Path) -> Points:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if "z" not in arrays.files:
            raise UserError(f"{path} has no z but {_listed(arrays.files)}; wanted z and y")
        return Points(arrays["z"], arrays["y"] if "y" in arrays.files else None)


def _read_parquet(path: Path) -> Points:
    from pyarrow import parquet

    with parquet.ParquetFile(path, buffer_size=BUFFER) as file:
        names = file.schema_arrow.names
        columns = point_columns(names)
        if not columns:
            raise UserError(
                f"{path} has no columns z_0, z_1, ..., and no column of lists called "
                f"{', '.join(LISTS)}, but {_listed(names)}; wanted z and y"
            )
        z = _points(file, columns, path)
        label = next((name for name in LABELS if name in names), None)
        y = None if label is None else file.read([label]).column(label).to_pandas().to_numpy()
        split = file.read(["split"]).column("split").to_pandas().to_numpy() if "split" in names else None
    return Points(z, y, None if split is None else split == TRAIN)


def point_columns(names: Sequence[str]) -> list[str]:
    """Columns of the coordinates, z_0 ... z_{d-1} by how many there are, else one of lists; or none."""
    count = sum(re.fullmatch(r"z_\d+", name) is not None for name in names)
    found = [f"z_{k}" for k in range(count)]
    if missing := [name for name in found if name not in names]:
        raise UserError(f"there are {count} columns z_..., but no {missing[0]}; number them from 0")
    return found or [name for name in LISTS if name in names][:1]


def _points(file: parquet.ParquetFile, columns: Sequence[str], path: Path) -> np.ndarray:
    """The points of a table, (n, d) float32, in which each part that is read finds its place."""
    whole = np.empty((file.metadata.num_rows, len(columns) if columns[0] not in LISTS else 0), np.float32)
    for left in range(0, len(columns), COLUMNS):
        top = 0
        for batch in file.iter_batches(ROWS, columns=columns[left : left + COLUMNS]):
            part = _rows(batch, path)
            if not whole.shape[1]:
                whole = np.empty((len(whole), part.shape[1]), np.float32)
            whole[top : top + len(part), left : left + part.shape[1]] = part
            top += len(part)
    return whole


def _rows(batch: pyarrow.RecordBatch, path: Path) -> np.ndarray:
    """The points of some rows, (m, d) float32."""
    if batch.schema.names[0] not in LISTS:
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        return np.stack(columns, axis=1).astype(np.float32)
    lengths = batch.column(0).value_lengths().to_numpy(zero_copy_only=False)
    if len(set(lengths.tolist())) != 1:
        raise UserError(
            f"{path}: the lists of {batch.schema.names[0]} are of different lengths, or missing; give each "
            "row a point of the same length"
        )
    flat: np.ndarray = batch.column(0).flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(batch), -1).astype(np.float32)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "") if names else "nothing"
