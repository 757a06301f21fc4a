"""Original file formats: idx, the pickles of CIFAR, and npz."""

from __future__ import annotations

import gzip
import io
import math
import pickle
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError, reason

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
    try:
        content = _unpickled(path.read_bytes())
        plain = {key: _plain(value) for key, value in content.items()} if isinstance(content, dict) else None
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except Exception as error:  # damaged pickles raise nearly anything
        raise UserError(f"{path} is truncated or damaged ({reason(error)}); fetch it again") from error
    if plain is None:
        raise UserError(f"{path} holds a {type(content).__name__}, wanted the dictionary of a CIFAR file")
    return plain


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


def _unpickled(content: bytes) -> Any:
    """What a pickle holds, of nothing but what CIFAR files are made of."""
    for opcode, argument, _ in pickletools.genops(content):
        # The unpickler makes room for as many remembered objects as the largest number says.
        if opcode.name in ("LONG_BINPUT", "PUT") and (argument or 0) > len(content):
            raise ValueError(f"it remembers object {argument}, and has {len(content)} bytes")
    return _CifarUnpickler(io.BytesIO(content), encoding="latin1").load()


class _Array:
    """Where a pickle makes a NumPy array; NumPy's own way of filling it trusts what it is told."""

    values: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], object, bool, str | bytes]) -> None:
        _, shape, kind, by_columns, content = state
        if not isinstance(kind, _Bytes):
            raise TypeError("an array of something else than bytes")
        raw = content.encode("latin1") if isinstance(content, str) else content
        self.values = np.frombuffer(bytearray(raw), np.uint8).reshape(shape, order="F" if by_columns else "C")


class _Bytes:
    """Where a pickle makes the type of an array: uint8, whatever else it goes on to say of it."""

    def __init__(self, name: str, *copied: object) -> None:
        if name not in ("u1", "|u1", "uint8"):
            raise TypeError(f"an array of {name}, not of bytes")

    def __setstate__(self, state: object) -> None:
        pass


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _encode(text: str, encoding: str) -> bytes:
    """How a protocol that has no bytes says them; other codecs compress, or are imported by name."""
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding}, not in latin1")
    return text.encode("latin1")


def _plain(value: Any) -> Any:
    return value.values if isinstance(value, _Array) else value


ADMITTED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Bytes,
    ("_codecs", "encode"): _encode,
}


class _CifarUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise UserError(f"refused, for its pickle asks for {module}.{name}, which no CIFAR file needs")
        return ADMITTED[module, name]
