"""Data sets that fit in memory as one tensor, read from their original files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data.originals import Parts
from latentloom.data.readers import read_cifar, read_idx, read_npz
from latentloom.values import ImageSet

AT_ONCE = 256  # images that are resized together, so that memory stays bounded


def digits(files: Mapping[str, Path], data: Data) -> Parts:
    """scikit-learn's 8x8 digits, 0..16 stretched to 0..255, without a split."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels * 255 / 16).round().to(torch.uint8).view(-1, 1, 8, 8)
    return ImageSet("", images, torch.from_numpy(labels), tuple("0123456789")), None


def idx(class_names: tuple[str, ...]) -> Callable[[Mapping[str, Path], Data], Parts]:
    """The reader of a data set in the four files of MNIST."""

    def part(files: Mapping[str, Path], prefix: str) -> ImageSet:
        images = read_idx(files[f"{prefix}-images-idx3-ubyte.gz"])
        labels = read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"])
        return ImageSet("", images.unsqueeze(1), labels.long(), class_names)

    return lambda files, data: (part(files, "train"), part(files, "t10k"))


def cifar10(files: Mapping[str, Path], data: Data) -> Parts:
    """Five training batches and a test batch of 3x32x32 images."""
    names = _Cifar(files["batches.meta"]).listed("label_names", str)

    def part(batches: Iterable[str]) -> ImageSet:
        read = [_Cifar(files[batch]) for batch in batches]
        numbers = [label for batch in read for label in batch.listed("labels", int)]
        images = torch.cat([batch.images() for batch in read])
        return ImageSet("", images, torch.tensor(numbers), tuple(names))

    return part(f"data_batch_{number}" for number in range(1, 6)), part(["test_batch"])


def cifar100(files: Mapping[str, Path], data: Data) -> Parts:
    """3x32x32 images with fine and coarse labels."""
    meta = _Cifar(files["meta"])
    names = [tuple(meta.listed(key, str)) for key in ("fine_label_names", "coarse_label_names")]

    def part(name: str) -> ImageSet:
        read = _Cifar(files[name])
        return ImageSet(
            "",
            read.images(),
            torch.tensor(read.listed("fine_labels", int)),
            names[0],
            coarse=torch.tensor(read.listed("coarse_labels", int)),
            coarse_names=names[1],
        )

    return part("train"), part("test")


def organamnist(files: Mapping[str, Path], data: Data) -> Parts:
    """The npz of MedMNIST; its validation images join the training images, of which ours are a share."""
    organs = (
        "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right",
        "liver", "lung-left", "lung-right", "pancreas", "spleen",
    )  # fmt: skip
    return _from_arrays(files["organamnist.npz"], organs)


def npz(files: Mapping[str, Path], data: Data) -> Parts:
    """Any npz with images and labels, or with the keys of MedMNIST.

    Images are uint8 (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels, labels whole numbers
    (n,) or (n, 1), -1 for unlabelled. Without
    class_names the classes are called by their numbers.
    """
    return _from_arrays(files["npz"], ())


def squares(images: Tensor, size: int, resize: int | None = None) -> Tensor:
    """Images in memory as `ImageFiles` gives those of files: uint8 (n, c, h, w) -> (n, c, size, size).

    The shorter side is scaled to `resize`, which is `size` unless given, bilinearly and with
    antialiasing; what lies around the centre is kept.
    """
    from torchvision.transforms.v2 import functional

    found = images.new_empty(*images.shape[:2], size, size)
    for some, place in zip(torch.split(images, AT_ONCE), torch.split(found, AT_ONCE), strict=True):
        # In floats, for how bytes are rounded on the way depends on the processor.
        scaled = functional.resize(some.float(), [resize or size], antialias=True)
        place.copy_(functional.center_crop(scaled, [size]).round())
    return found


def _from_arrays(path: Path, class_names: tuple[str, ...]) -> Parts:
    arrays = read_npz(path)
    parts = ("train_", "val_") if "train_images" in arrays else ("",)
    images, labels = _joined(arrays, [part for part in parts if f"{part}images" in arrays] or [""], path)
    tests = _joined(arrays, ["test_"], path) if "test_images" in arrays else None
    everything = torch.cat([labels, tests[1]]) if tests else labels
    numbers = map(str, range(int(everything.max()) + 1 if len(everything) else 0))
    names = class_names or tuple(map(str, arrays.get("class_names", numbers)))
    return ImageSet("", images, labels, names), tests and ImageSet("", *tests, names)


def _joined(arrays: Mapping[str, np.ndarray], prefixes: Sequence[str], path: Path) -> tuple[Tensor, Tensor]:
    """Images uint8 (n, c, h, w) and labels (n,), those of the prefixes one after the other."""
    images = [_images(_wanted(arrays, f"{prefix}images", path), path) for prefix in prefixes]
    labels = [_labels(_wanted(arrays, f"{prefix}labels", path), path) for prefix in prefixes]
    return torch.cat(images), torch.cat(labels)


def _images(array: np.ndarray, path: Path) -> Tensor:
    """uint8 (n, c, h, w) from that, from (n, h, w) or from (n, h, w, c)."""
    if array.dtype == np.uint8 and array.ndim == 3:
        return torch.from_numpy(array).unsqueeze(1)
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3):
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[1] in (1, 3):
        return torch.from_numpy(array)
    raise UserError(
        f"{path}: images must be uint8 (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels, "
        f"got {array.dtype} {array.shape}; from floats in [0, 1] pass (255 * x).round().astype('uint8')"
    )


def _labels(array: np.ndarray, path: Path) -> Tensor:
    if array.dtype.kind not in "iu" or array.shape not in ((array.size,), (array.size, 1)):
        raise UserError(
            f"{path}: labels must be whole numbers (n,) or (n, 1), got {array.dtype} {array.shape}; "
            "number the classes from 0, and put their names in class_names"
        )
    return torch.from_numpy(array.reshape(-1).astype(np.int64))


class _Cifar:
    """A CIFAR file, of which nothing is taken for granted."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, read_cifar(path)

    def listed(self, key: str, kind: type) -> list[Any]:
        """A list whose entries are all of one kind."""
        value = _wanted(self.content, key, self.path)
        if not isinstance(value, list) or not all(type(entry) is kind for entry in value):
            raise UserError(f"{self.path}: {key} is no list of {kind.__name__} alone; fetch it again")
        return value

    def images(self) -> Tensor:
        """(n, 3072), colour by colour and row by row -> (n, 3, 32, 32)."""
        pixels = _wanted(self.content, "data", self.path)
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.shape[1] != 3 * 32 * 32:
            isarray = isinstance(pixels, np.ndarray)
            got = f"uint8 {pixels.shape}" if isarray else type(pixels).__name__
            raise UserError(f"{self.path}: CIFAR images must be uint8 (n, 3072), got {got}; fetch them again")
        return torch.from_numpy(pixels).view(-1, 3, 32, 32)


def _wanted(content: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in content:
        raise UserError(
            f"{path} has no {key!r}; it holds {', '.join(sorted(map(str, content))) or 'nothing'}"
        )
    return content[key]
