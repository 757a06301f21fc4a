"""The card of a run, or of latents from anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from latentloom.checks import UserError
from latentloom.evaluation import take_card
from latentloom.records import load_record
from latentloom.training.folder import RECORD
from latentloom.training.latents import point_columns
from latentloom.values import Card, Latent


def card_of(path: Path) -> Card:
    """The card of a run's folder, or of a file of latents, ours or not.

    A .parquet file has the columns z_0 ... z_{d-1} and y; an .npz file the arrays z (n, d) and y (n,).
    """
    if path.is_dir():
        return load_record(path / RECORD).card
    if not path.exists():
        raise UserError(f"there is no {path}; give a run's folder, or a .parquet or .npz file with z and y")
    z, y = _read(path)
    if z.ndim != 2 or len(z) != len(y) or len(z) == 0:
        raise UserError(f"{path} must hold z (n, d) and y (n,), got {z.shape} and {y.shape}")
    latent = Latent({"z": torch.as_tensor(z).float(), "y": torch.as_tensor(y).long()})
    return take_card(latent, None, split=path.name)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["z"], arrays["y"]
        if path.suffix == ".parquet":
            import pandas

            table = pandas.read_parquet(path)
            return table[point_columns(table)].to_numpy(np.float32), table["y"].to_numpy(np.int64)
    except (KeyError, ValueError, OSError) as error:
        raise UserError(f"cannot read latents from {path}: {error}; wanted z and y") from error
    raise UserError(f"{path.name} is neither .parquet nor .npz; latents are read from these")
