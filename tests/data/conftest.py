from __future__ import annotations

import gzip
import math
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentloom.data.files import ImageFiles
from latentloom.values import ImageSet


def idx_bytes(array: np.ndarray) -> bytes:
    sides = b"".join(struct.pack(">I", side) for side in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sides + bytes(array.ravel().tolist())


def cifar_bytes(content: dict[str, Any]) -> bytes:
    """A pickle as Python 2 with an old NumPy wrote it."""
    return pickle.dumps(content, protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


def counting(shape: tuple[int, ...]) -> np.ndarray:
    return (np.arange(math.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def pixels(image_set: ImageSet) -> list[bytes]:
    """The content of each image."""
    images = image_set.images
    decoded = images if isinstance(images, torch.Tensor) else map(images.decode, range(len(images)))
    return [image.numpy().tobytes() for image in decoded]


def mnist_like(root: Path, folder: str, packed: bool) -> None:
    (root / folder).mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 10)):
        for kind, array in (("images-idx3", counting((n, 28, 28))), ("labels-idx1", np.arange(n) % 10)):
            name, content = f"{part}-{kind}-ubyte", idx_bytes(array)
            (root / folder / (f"{name}.gz" if packed else name)).write_bytes(
                gzip.compress(content) if packed else content
            )


def cifar10(root: Path) -> None:
    (root / "cifar-10-batches-py").mkdir()
    batches = {f"data_batch_{k}": [(4 * k + i) % 10 for i in range(8)] for k in range(1, 6)}
    for name, labels in {**batches, "test_batch": list(range(10))}.items():
        content = {"data": counting((len(labels), 3072)), "labels": labels}
        (root / "cifar-10-batches-py" / name).write_bytes(cifar_bytes(content))
    meta = {"label_names": [f"kind_{i}" for i in range(10)]}
    (root / "cifar-10-batches-py" / "batches.meta").write_bytes(cifar_bytes(meta))


def cifar100(root: Path) -> None:
    folder = root / "cifar100" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, n in (("train", 40), ("test", 10)):
        fine = [i % 10 for i in range(n)]
        labels = {"fine_labels": fine, "coarse_labels": [label // 5 for label in fine]}
        (folder / name).write_bytes(cifar_bytes({"data": counting((n, 3072)), **labels}))
    names = [f"kind_{i}" for i in range(10)]
    meta = cifar_bytes({"fine_label_names": names, "coarse_label_names": ["low", "high"]})
    (folder / "meta").write_bytes(meta)


def organamnist(root: Path) -> None:
    arrays = {}
    for part, n in {"train": 30, "val": 10, "test": 10}.items():
        arrays[f"{part}_images"] = counting((n, 28, 28))
        arrays[f"{part}_labels"] = (np.arange(n) % 11)[:, None].astype(np.uint8)
    np.savez(root / "organamnist.npz", **arrays)


def tinyimagenet(root: Path) -> None:
    top = root / "tiny-imagenet-200"
    for i in range(40):
        picture(top / "train" / f"n{i % 4}" / "images" / f"n{i % 4}_{i // 4}.JPEG", i)
        (top / "train" / f"n{i % 4}" / f"n{i % 4}_boxes.txt").write_text("n0_0.JPEG\t0\t0\t9\t9\n")
    for i in range(10):
        picture(top / "val" / "images" / f"val_{i}.JPEG", 40 + i)
    boxes = "".join(f"val_{i}.JPEG\tn{i % 4}\t0\t0\t9\t9\n" for i in range(10))
    (top / "val" / "val_annotations.txt").write_text(boxes)
    (top / "wnids.txt").write_text("n3\nn1\nn0\nn2\n")
    (top / "words.txt").write_text(
        "".join(f"n{label}\tkind {label}, Species {label}\n" for label in range(6))
    )


def cub200(root: Path) -> None:
    names = [f"00{i % 5 + 1}.Bird_{i % 5}/Bird_{i}.jpg" for i in range(50)]
    for i, name in enumerate(names):
        picture(root / "CUB_200_2011" / "images" / name, i)
    tables = {
        "images": [f"{i + 1} {name}" for i, name in enumerate(names)],
        "image_class_labels": [f"{i + 1} {i % 5 + 1}" for i in range(50)],
        "train_test_split": [f"{i + 1} {int(i < 40)}" for i in range(50)],
        "classes": [f"{label + 1} 00{label + 1}.Bird_{label}" for label in range(5)],
    }
    for table, lines in tables.items():
        (root / "CUB_200_2011" / f"{table}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def layouts() -> dict[str, Callable[[Path], None]]:
    """Each writes a tiny data set in its original layout below a root: 40 images to train, 10 to test."""
    return {
        "mnist": partial(mnist_like, folder="mnist", packed=True),
        "fashion-mnist": partial(mnist_like, folder="FashionMNIST/raw", packed=False),
        "kmnist": partial(mnist_like, folder="KMNIST/raw", packed=True),
        "cifar10": cifar10,
        "cifar100": cifar100,
        "organamnist": organamnist,
        "tinyimagenet": tinyimagenet,
        "cub200": cub200,
    }


@pytest.fixture(name="pixels")
def _pixels() -> Callable[[ImageSet], list[bytes]]:
    return pixels


@pytest.fixture(name="idx_bytes")
def _idx_bytes() -> Callable[[np.ndarray], bytes]:
    return idx_bytes


@pytest.fixture(name="cifar_bytes")
def _cifar_bytes() -> Callable[[dict[str, Any]], bytes]:
    return cifar_bytes


@pytest.fixture(name="picture")
def _picture() -> Callable[..., Path]:
    return picture


@pytest.fixture(name="counting")
def _counting() -> Callable[[tuple[int, ...]], np.ndarray]:
    return counting


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Eleven pictures of different sizes."""
    names = [
        picture(tmp_path / "pictures" / f"{number}.png", number, (9 + number, 12)) for number in range(11)
    ]
    return ImageFiles(tuple(names), 8)
