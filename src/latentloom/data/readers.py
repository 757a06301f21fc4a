"""Original file formats: idx, the pickles of CIFAR, and npz."""

from __future__ import annotations

import codecs
import gzip
import math
import pickle
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> Tensor:
    """The uint8 array of an idx file, gzipped or not.

    Two zero bytes, the type (8 is uint8), the number of dimensions, each of them as four big-endian
    bytes, then the values.
    """
    content = _uncompressed(path)
    zeros, kind, ndim = content[:2], content[2:3], content[3:4]
    if zeros != b"\0\0" or kind != bytes([UNSIGNED_BYTE]) or ndim in (b"", b"\0"):
        raise UserError(
            f"{path} is not an idx file of bytes: it begins with {content[:4].hex()}, not with 0000080n; "
            "fetch it again"
        )
    start = 4 + 4 * ndim[0]
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if len(content) != start + math.prod(shape):
        raise UserError(
            f"{path} is truncated or damaged: {len(content) - start} values for shape {shape}; fetch it again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].view(shape)


def read_cifar(path: Path) -> dict[str, Any]:
    """The dictionary of a CIFAR pickle; whatever such a file does not need is refused unexecuted."""
    with path.open("rb") as file:
        try:
            content = _CifarUnpickler(file, encoding="latin1").load()
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        except Exception as error:  # damaged pickles raise nearly anything
            raise UserError(f"{path} is truncated or damaged ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, wanted the dictionary of a CIFAR file")
    return content


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz file by name; pickled objects are refused."""
    if not path.is_file():
        raise UserError(f"no file {path}; give the path of an .npz file")
    try:
        # the first refuses what np.load would take for a single array or a pickle
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} does not read as plain arrays ({error}); write it again with numpy.savez"
        ) from error


def _uncompressed(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is truncated or damaged ({error}); fetch it again") from error


def _dtype(name: str, align: object = False, copy: object = False) -> np.dtype[Any]:
    """`numpy.dtype` for old pickles, which pass 0 and 1 where NumPy now wants booleans."""
    return np.dtype(name, align=bool(align), copy=bool(copy))


_reconstruct: Any = np.zeros(0).__reduce__()[0]  # NumPy's own, wherever this version keeps it
ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _CifarUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise UserError(f"refused, for its pickle asks for {module}.{name}, which no CIFAR file needs")
        return ADMITTED[module, name]
