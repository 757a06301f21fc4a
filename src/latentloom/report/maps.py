"""Latents of finished runs, and those that are a plane already."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloom.checks import UserError
from latentloom.training.folder import ABOUT, LATENTS
from latentloom.training.latents import point_columns
from latentloom.values import Record

Floats = NDArray[np.floating[Any]]
MAPPED = 2000  # images on a map
FEWEST = 10  # images below which neighbourhoods mean nothing


@dataclass(frozen=True)
class MapData:
    """A map to draw."""

    xy: Floats  # (n, 2)
    labels: NDArray[np.integer[Any]]  # (n,); -1 is unlabelled
    class_names: tuple[str, ...]
    seed: int  # of the run whose latents these are


@dataclass(frozen=True)
class Table:
    """Latents of one split, as a run left them."""

    z: Floats  # (n, d) float32
    y: NDArray[np.integer[Any]]  # (n,) int64; -1 is unlabelled
    predicted: NDArray[np.integer[Any]] | None  # (n,) int64; None where no head predicts


def read_latents(path: Path, split: str = "test") -> tuple[Floats, NDArray[np.integer[Any]]]:
    """Latents of one split, (n, d) float32, and their classes, (n,) int64, as `read_table` reads them."""
    table = read_table(path, split)
    return table.z, table.y


def read_table(path: Path, split: str = "test") -> Table:
    """Latents of one split from a run's latents.parquet.

    The file has the columns z_0 ... z_{d-1}, y and split, and predicted where a head predicts.
    """
    import pandas

    try:
        table = pandas.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read latents from {path} ({error}); run again, or leave the map out"
        ) from error
    names = point_columns(table)
    missing = [name for name in (*(names or ["z_0"]), "y", "split") if name not in table.columns]
    if missing:
        raise UserError(f"{path} has no column {missing[0]!r}; latents need z_0, z_1, ..., y and split")
    rows = table[table["split"] == split]
    if rows.empty:
        raise UserError(f"{path} has no latents of split {split!r}; it has {sorted(set(table['split']))}")
    predicted = rows["predicted"].to_numpy(np.int64) if "predicted" in rows else None
    return Table(rows[names].to_numpy(np.float32), rows["y"].to_numpy(np.int64), predicted)


def map_of(record: Record, folder: Path, in_plane: Callable[[Floats], Floats]) -> MapData:
    """The first 2,000 images of a run's evaluated split, in the plane."""
    z, y = read_latents(folder / LATENTS, record.card.split)
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return MapData(in_plane(z[:MAPPED]), y[:MAPPED], tuple(about["class_names"]), record.seed)
