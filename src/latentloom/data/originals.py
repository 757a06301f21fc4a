"""A data set as its authors publish it: where its files may lie, whether they are whole, how to get them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.values import ImageSet

# Images for training and for testing, or all images where there is no split; name, source and licence
# are filled in by the catalogue.
Parts = tuple[ImageSet, ImageSet | None]


@dataclass(frozen=True)
class Dataset:
    """A data set of the catalogue."""

    name: str
    title: str
    encoder: str  # the default
    read: Callable[[Mapping[str, Path], Data], Parts]  # from where each of `files` was found
    classes: int | None = None  # None: as the files have it
    channels: int | None = None
    size: int | None = None  # side of an image, in pixels
    licence: str = ""
    source: str = ""
    folders: tuple[str, ...] = ()  # below the root; the first is the one to recommend
    files: tuple[str, ...] = ()
    md5: Mapping[str, str] = field(default_factory=dict)  # as far as known, also of unpacked files
    download: Callable[[Path], None] | None = None  # into a root


def data_root(data: Data) -> Path:
    """Folder of the data sets: `data.root`, else LATENTLOOM_DATA, else ~/.cache/latentloom."""
    return Path(data.root or os.environ.get("LATENTLOOM_DATA") or "~/.cache/latentloom").expanduser()


def locate(dataset: Dataset, data: Data) -> dict[str, Path]:
    """Where each file of the data set lies, its md5 checked where one is known."""
    root = data_root(data)
    if data.download and not all(_search(dataset, file, root) for file in dataset.files):
        fetch(dataset, root)
    found = {file: _found(dataset, file, root) for file in dataset.files}
    if not data.unverified:
        for path in found.values():
            verify(path, dataset.md5.get(path.name))
    return found


def verify(path: Path, known: str | None) -> None:
    """Refuse a file whose md5 is not the known one."""
    if known is None:
        return
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != known:
        raise UserError(
            f"{path} has md5 {md5}, the original has {known}: it is damaged or another version; "
            "delete it and fetch it again, or accept it with --data.unverified true"
        )


def fetch(dataset: Dataset, root: Path) -> None:
    """Download the data set below `root`, as torchvision or medmnist lay it out."""
    if dataset.download is None:
        raise UserError(
            f"{dataset.name} has no download; get it from {dataset.source} "
            f"and put it in {_home(dataset, root)}"
        )
    root.mkdir(parents=True, exist_ok=True)
    try:
        dataset.download(root)
    except ModuleNotFoundError as error:
        raise UserError(
            f"downloading needs {error.name}; install it with: pip install 'latentloom[train,data]'"
        ) from error
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"downloading {dataset.name} failed ({' '.join(str(error).split())}); "
            f"get {', '.join(dataset.files)} from {dataset.source} and put them in {_home(dataset, root)}"
        ) from error


def torchvision_mnist(kind: str) -> Callable[[Path], None]:
    """Download of a data set that torchvision keeps like MNIST."""

    def download(root: Path) -> None:
        from torchvision import datasets

        getattr(datasets, kind)(root, download=True)

    return download


def torchvision_cifar(kind: str) -> Callable[[Path], None]:
    """Download of a CIFAR archive; torchvision's class itself would also unpickle it."""

    def download(root: Path) -> None:
        from torchvision import datasets
        from torchvision.datasets.utils import download_and_extract_archive

        cifar = getattr(datasets, kind)
        download_and_extract_archive(cifar.url, str(root), filename=cifar.filename, md5=cifar.tgz_md5)

    return download


def medmnist(kind: str) -> Callable[[Path], None]:
    """Download of a data set of MedMNIST."""

    def download(root: Path) -> None:
        import medmnist

        getattr(medmnist, kind)(split="train", root=str(root), download=True)

    return download


def _home(dataset: Dataset, root: Path) -> Path:
    return root / dataset.folders[0]


def _search(dataset: Dataset, file: str, root: Path) -> Path | None:
    """The file, or the same without .gz, in the first folder that has it."""
    names = dict.fromkeys((file, file.removesuffix(".gz")))
    places = (root / folder / name for folder in dataset.folders for name in names)
    return next((place for place in places if place.is_file()), None)


def _found(dataset: Dataset, file: str, root: Path) -> Path:
    path = _search(dataset, file, root)
    if path is None:
        folders = ", ".join(str(root / folder) for folder in dataset.folders)
        advice = "fetch it with --data.download true, or " if dataset.download else ""
        raise UserError(
            f"{dataset.name}: no {file} in {folders}; {advice}get it from {dataset.source} and put it in "
            f"{_home(dataset, root)}, or name another folder of data sets with --data.root or LATENTLOOM_DATA"
        )
    return path
