"""The data sets that are known by name, and how one of them becomes the splits of a run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.config import Data
from latentloom.data import arrays, trees
from latentloom.data.checksums import MD5
from latentloom.data.originals import Dataset, locate, medmnist, torchvision_cifar, torchvision_mnist
from latentloom.data.splits import (
    FIXED_SEED,
    check_classes,
    check_part,
    limit,
    split_halves,
    split_test,
    split_validation,
    without_bad,
)
from latentloom.names.coarse import coarse_map, coarse_of
from latentloom.values import ImageSet, Splits

WITH_PATH = ("folder", "npz")  # written folder:PATH and npz:PATH
LARGEST_FOR_SMALL_CNN = 32
IDX = tuple(f"{p}-{c}-ubyte.gz" for p in ("train", "t10k") for c in ("images-idx3", "labels-idx1"))
FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
KUZUSHIJI = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            name="digits",
            title="Handwritten digits of scikit-learn",
            classes=10,
            channels=1,
            size=8,
            licence="CC BY 4.0",
            source="https://archive.ics.uci.edu/dataset/80",
            encoder="mlp",
            read=arrays.digits,
        ),
        Dataset(
            name="mnist",
            title="MNIST, handwritten digits",
            classes=10,
            channels=1,
            size=28,
            licence="CC BY-SA 3.0",
            source="https://ossci-datasets.s3.amazonaws.com/mnist/",
            encoder="small_cnn",
            read=arrays.idx(tuple("0123456789")),
            folders=("mnist", "MNIST/raw", "MNIST", "mnist/raw"),
            files=IDX,
            md5=MD5["mnist"],
            download=torchvision_mnist("MNIST"),
        ),
        Dataset(
            name="fashion-mnist",
            title="Fashion-MNIST, articles of clothing",
            classes=10,
            channels=1,
            size=28,
            licence="MIT",
            source="https://github.com/zalandoresearch/fashion-mnist",
            encoder="small_cnn",
            read=arrays.idx(FASHION),
            folders=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "fashion-mnist/raw"),
            files=IDX,
            md5=MD5["fashion-mnist"],
            download=torchvision_mnist("FashionMNIST"),
        ),
        Dataset(
            name="kmnist",
            title="Kuzushiji-MNIST, cursive Japanese characters",
            classes=10,
            channels=1,
            size=28,
            licence="CC BY-SA 4.0",
            source="http://codh.rois.ac.jp/kmnist/",
            encoder="small_cnn",
            read=arrays.idx(KUZUSHIJI),
            folders=("kmnist", "KMNIST/raw", "KMNIST", "kmnist/raw"),
            files=IDX,
            md5=MD5["kmnist"],
            download=torchvision_mnist("KMNIST"),
        ),
        Dataset(
            name="cifar10",
            title="CIFAR-10, colour photographs",
            classes=10,
            channels=3,
            size=32,
            licence="none stated; cite Krizhevsky 2009",
            source="https://www.cs.toronto.edu/~kriz/cifar.html",
            encoder="vgg16",
            read=arrays.cifar10,
            folders=(
                "cifar10",
                "cifar-10-batches-py",
                "cifar10/cifar-10-batches-py",
                "cifar-10/cifar-10-batches-py",
            ),
            files=(*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
            md5=MD5["cifar10"],
            download=torchvision_cifar("CIFAR10"),
        ),
        Dataset(
            name="cifar100",
            title="CIFAR-100, colour photographs in 20 coarse classes",
            classes=100,
            channels=3,
            size=32,
            licence="none stated; cite Krizhevsky 2009",
            source="https://www.cs.toronto.edu/~kriz/cifar.html",
            encoder="resnet50",
            read=arrays.cifar100,
            folders=(
                "cifar100",
                "cifar-100-python",
                "cifar100/cifar-100-python",
                "cifar-100/cifar-100-python",
            ),
            files=("train", "test", "meta"),
            md5=MD5["cifar100"],
            download=torchvision_cifar("CIFAR100"),
        ),
        Dataset(
            name="organamnist",
            title="OrganAMNIST, organs in axial CT",
            classes=11,
            channels=1,
            size=28,
            licence="CC BY 4.0",
            source="https://medmnist.com",
            encoder="small_cnn",
            read=arrays.organamnist,
            folders=("organamnist", ".", "medmnist", "MedMNIST"),
            files=("organamnist.npz",),
            md5=MD5["organamnist"],
            download=medmnist("OrganAMNIST"),
        ),
        Dataset(
            name="tinyimagenet",
            title="Tiny ImageNet, colour photographs",
            classes=200,
            channels=3,
            size=trees.TINY_SIZE,
            licence="terms of ImageNet, for non-commercial research",
            source="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            encoder="resnet18",
            read=trees.tinyimagenet,
            folders=("tinyimagenet", "tiny-imagenet-200", "tinyimagenet/tiny-imagenet-200"),
            files=("wnids.txt", "words.txt", "val/val_annotations.txt"),
        ),
        Dataset(
            name="cub200",
            title="CUB-200-2011, birds",
            classes=200,
            channels=3,
            size=trees.CUB_SIZE,
            licence="none stated, for non-commercial research; cite Wah et al. 2011",
            source="https://data.caltech.edu/records/65de6-vp158",
            encoder="resnet18",
            read=trees.cub200,
            folders=("cub200", "CUB_200_2011", "cub200/CUB_200_2011"),
            files=("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"),
        ),
        Dataset(
            name="folder",
            title="folder:PATH, a directory of images per class",
            channels=3,
            size=trees.FOLDER_SIZE,
            encoder="resnet18",
            read=trees.folder,
        ),
        Dataset(
            name="npz",
            title="npz:PATH, arrays of images and labels",
            encoder="small_cnn",
            read=arrays.npz,
        ),
    )
}


def load(data: Data, seed: int) -> Splits:
    """The splits of a run: training, validation, test.

    First the limits are applied, then files that do not decode are found, then the validation images are
    taken from the training images, stratified. The seed chooses the training and validation images; the
    test images are the same for every seed. With data.split paper the validation images are half of the
    test images, also the same for every seed. Images keep their size unless they are files or data.size
    is given.
    """
    _check_sizes(data)
    whole, test = _parts(data)
    train = _used(limit(whole, data.limit, seed), data)
    test = _used(limit(test, data.test_limit, FIXED_SEED), data)
    check_classes(train)
    check_part(test)
    if data.split == "paper":
        return Splits(train, *split_halves(test))
    train, validation = split_validation(train, data.validation, seed)
    return Splits(train, validation, test)


def class_names(data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the classes of a data set, and of its coarse classes."""
    part, _ = _parts(data)
    return part.class_names, part.coarse_names


def find_dataset(name: str) -> tuple[Dataset, str]:
    """The data set of that name, and the path after the colon of folder:PATH and npz:PATH, else "".

    >>> find_dataset("folder:flowers")[1]
    'flowers'
    """
    kind, _, path = name.partition(":")
    check_choice("data set", kind, DATASETS)
    if bool(path) != (kind in WITH_PATH):
        wanted = f"{kind}:PATH" if kind in WITH_PATH else f"{kind}, which takes no path"
        raise UserError(f"data set {name!r} was asked for; write {wanted}")
    return DATASETS[kind], path


def default_encoder(name: str, size: int) -> str:
    """The encoder to use for a data set unless one is named; `size` is the side of its images in pixels."""
    dataset, _ = find_dataset(name)
    return "resnet18" if dataset.name == "npz" and size > LARGEST_FOR_SMALL_CNN else dataset.encoder


def _check_sizes(data: Data) -> None:
    if data.size is not None and data.size < 1:
        raise UserError(f"data.size must be at least one pixel, got {data.size}")
    if data.resize is not None and data.resize < (data.size or math.inf):
        raise UserError(
            f"data.resize must be at least data.size, to which images are cropped, got {data.resize} and "
            f"{data.size}; change one of them"
        )


def _used(image_set: ImageSet, data: Data) -> ImageSet:
    """The images that decode, at the size that was asked for."""
    decoding = without_bad(image_set, data.skip_bad, data.workers)
    if data.size is None or not isinstance(decoding.images, Tensor):
        return decoding
    return replace(decoding, images=arrays.squares(decoding.images, data.size, data.resize))


def _parts(data: Data) -> tuple[ImageSet, ImageSet]:
    """All images for training, and those for testing."""
    dataset, path = find_dataset(data.name)
    files = {dataset.name: Path(path).expanduser()} if path else locate(dataset, data)
    parts = [_named(part, data.name, dataset) for part in dataset.read(files, data) if part is not None]
    if data.coarse is not None:
        parts = [_grouped(part, data.coarse, dataset) for part in parts]
    parts = [replace(part, coarse_of=coarse_of(parts[0])) for part in parts]  # while all labels are there
    return (parts[0], parts[1]) if len(parts) > 1 else split_test(parts[0])


def _named(part: ImageSet, name: str, dataset: Dataset) -> ImageSet:
    part = replace(part, name=name, source=dataset.source, licence=dataset.licence)
    check_part(part)
    return part


def _grouped(part: ImageSet, source: str, dataset: Dataset) -> ImageSet:
    """The images with coarse labels from a paper's groups of classes, or from a file's."""
    groups = coarse_map(source, dataset.name, part.class_names)
    return replace(part, coarse=groups.labels(part.labels), coarse_names=groups.names)
