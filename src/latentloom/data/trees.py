"""Data sets that are trees of image files, decoded when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data.files import SUFFIXES, ImageFiles
from latentloom.data.originals import Parts
from latentloom.values import ImageSet

TINY_SIZE, CUB_SIZE, FOLDER_SIZE = 64, 224, 64


def tinyimagenet(files: Mapping[str, Path], data: Data) -> Parts:
    """train/<wnid>/images and val/images; the official validation images are the test images."""
    root, size = files["wnids.txt"].parent, data.size or TINY_SIZE
    wnids = files["wnids.txt"].read_text(encoding="utf-8").split()
    words = dict(_pairs(files["words.txt"], "\t"))
    names = tuple(words.get(wnid, wnid).split(",")[0] for wnid in wnids)
    number = {wnid: label for label, wnid in enumerate(wnids)}
    train = [(path, number[wnid]) for wnid in wnids for path in _pictures(_below(root / "train", wnid))]
    annotations = _pairs(files["val/val_annotations.txt"], "\t")
    pictures = root / "val" / "images"
    test = [(_below(pictures, file), number.get(wnid, len(wnids))) for file, wnid in annotations]
    return _image_set(train, names, size, data.resize), _image_set(test, names, size, data.resize)


def cub200(files: Mapping[str, Path], data: Data) -> Parts:
    """Images of birds with their official split; classes are called as in classes.txt, less the number."""
    root, size = files["images.txt"].parent, data.size or CUB_SIZE
    names = tuple(name.partition(".")[2] or name for _, name in _pairs(files["classes.txt"]))
    label = dict(_pairs(files["image_class_labels.txt"]))
    for_training = dict(_pairs(files["train_test_split.txt"]))
    images = [(number, _below(root / "images", file)) for number, file in _pairs(files["images.txt"])]
    for number, _ in images:
        if not label.get(number, "").isdigit() or for_training.get(number) not in ("0", "1"):
            raise UserError(f"{root}: image {number} has no label or no split; unpack the archive again")

    def part(used: str) -> ImageSet:
        chosen = [(path, int(label[n]) - 1) for n, path in images if for_training[n] == used]
        return _image_set(chosen, names, size, data.resize)

    return part("1"), part("0")


def folder(files: Mapping[str, Path], data: Data) -> Parts:
    """A directory per class, or these below train/ and test/ (or val/).

    With train/, val/ and test/ the images of val/ join the training images. Without train/ and one of
    the others there is no split.
    """
    root, size = files["folder"], data.size or FOLDER_SIZE
    if not root.is_dir():
        raise UserError(f"no folder {root}; give the path of a folder with a directory per class")
    given = [root / part for part in ("train", "val", "test") if (root / part).is_dir()]
    official = len(given) > 1 and given[0].name == "train"
    parts = (given[:-1], given[-1:]) if official else ([root],)
    names = sorted({path.name for part in parts for top in part for path in _directories(top)})
    if not names:
        raise UserError(
            f"{root} holds no directories; put the images of each class in a directory of its name"
        )
    sets = [_image_set(_labelled(part, names), tuple(names), size, data.resize) for part in parts]
    return sets[0], sets[1] if official else None


def _below(top: Path, name: str) -> Path:
    """The file of a name that a list of the data set gives, which must lie in its folder."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UserError(f"{top} is to hold {name!r}, which lies outside of it; unpack the archive again")
    return top / name


def _labelled(tops: Iterable[Path], names: list[str]) -> list[tuple[Path, int]]:
    return [
        (path, label) for top in tops for label, name in enumerate(names) for path in _pictures(top / name)
    ]


def _directories(top: Path) -> list[Path]:
    return [path for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _pictures(top: Path) -> list[Path]:
    """Image files below a directory, hidden ones left out, in the order of their names."""
    paths = (path for path in top.rglob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in paths if not path.name.startswith("."))


def _image_set(
    files: list[tuple[Path, int]], names: tuple[str, ...], size: int, resize: int | None
) -> ImageSet:
    labels = torch.tensor([label for _, label in files], dtype=torch.long)
    return ImageSet("", ImageFiles(tuple(path for path, _ in files), size, resize), labels, names)


def _pairs(path: Path, separator: str | None = None) -> list[tuple[str, str]]:
    """The first two columns of each line of a text file, empty lines left out."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows = [line.split(separator) for line in lines]
    if bad := [line for line, row in zip(lines, rows, strict=True) if len(row) < 2]:
        raise UserError(f"{path}: wanted two columns, got {bad[0]!r}; unpack the archive again")
    return [(row[0], row[1]) for row in rows]
