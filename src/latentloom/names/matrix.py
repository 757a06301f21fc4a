"""A matrix with a row for each class, from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from latentloom.checks import UserError, reason


def read_matrix(path: str | Path, of: str = "vectors") -> tuple[Tensor, Mapping[str, str]]:
    """The one array of a .npy or .safetensors file, and what the file says of it; no pickle is executed.

    Args:
        path: of the file.
        of: what messages call the rows.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".npy", ".safetensors"):
        raise UserError(f"{of} are read from .npy and .safetensors files, got {path}")
    if not path.is_file():
        raise UserError(f"no file of {of} {path}; give a .npy or .safetensors file of a matrix (C, d)")
    try:
        return _read(path)
    except Exception as error:  # damaged files raise nearly anything
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> UserError:
    """An error for a file that holds something else, or is damaged."""
    return UserError(f"{path} does not read as one matrix ({reason(error)}); write it again")


def _read(path: Path) -> tuple[Tensor, Mapping[str, str]]:
    if path.suffix == ".npy":
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("="))), {}
    with safe_open(path, framework="pt") as tensors:
        (key,) = tensors.keys()
        return tensors.get_tensor(key), tensors.metadata() or {}
