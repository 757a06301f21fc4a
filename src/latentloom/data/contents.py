"""What the images of a run were read from, by which it is seen whether they have changed since."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path

from torch import Tensor

from latentloom.config import Data
from latentloom.data.catalogue import find_dataset
from latentloom.data.files import ImageFiles
from latentloom.data.originals import locate
from latentloom.data.splits import Chosen
from latentloom.values import Images, Splits

HASHED = 2**30  # bytes that are read in all; of more, names and sizes alone are known


def sources(splits: Splits, data: Data) -> list[Path]:
    """The files that the images, labels and groups of a data set come from, in the order of their names."""
    dataset, path = find_dataset(data.name)
    given = (Path(text).expanduser() for text in (path, data.coarse) if text)
    lists = {} if path else locate(dataset, replace(data, download=False, unverified=True))
    images = (_files(part.images) for part in (splits.train, splits.validation, splits.test))
    return sorted({*filter(Path.is_file, given), *lists.values(), *chain.from_iterable(images)})


def _files(images: Tensor | Images) -> Iterable[Path]:
    match images:
        case ImageFiles():
            return images.paths
        case Chosen():
            every = tuple(_files(images.images))
            return [every[row] for row in images.rows.tolist()] if every else []
    return []


def contents(paths: Iterable[Path]) -> dict[str, str]:
    """Name of each file below the folder that holds all of them -> its size, and a digest of its bytes.

    There are no digests where the files have more than 1 GiB together. The times of files are not read:
    a copy is the same.
    """
    sizes = {path: path.stat().st_size for path in paths}
    if not sizes:
        return {}
    top = os.path.commonpath([path.parent.absolute() for path in sizes])
    small = sum(sizes.values()) <= HASHED
    return {
        os.path.relpath(path.absolute(), top): f"{size} bytes" + (f", {_digest(path)}" if small else "")
        for path, size in sizes.items()
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
