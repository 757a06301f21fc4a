from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torchvision.transforms import v2

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data import DATASETS, default_encoder, image_shape, load
from latentloom.data.arrays import AT_ONCE, squares
from latentloom.data.catalogue import find_dataset
from latentloom.data.files import ImageFiles

REAL = Path(os.environ.get("LATENTLOOM_DATA") or Path(__file__).parents[3] / "shared" / "data")


@dataclass(frozen=True)
class Expected:
    shape: tuple[int, int, int]
    names: tuple[str, ...]


KINDS = tuple(f"kind_{i}" for i in range(10))
EXPECTED = {
    "mnist": Expected((1, 28, 28), tuple("0123456789")),
    "fashion-mnist": Expected((1, 28, 28), ("T-shirt/top", "Trouser")),
    "kmnist": Expected((1, 28, 28), ("o", "ki", "su")),
    "cifar10": Expected((3, 32, 32), KINDS),
    "cifar100": Expected((3, 32, 32), KINDS),
    "organamnist": Expected((1, 28, 28), ("bladder", "femur-left")),
    "tinyimagenet": Expected((3, 64, 64), ("kind 3", "kind 1", "kind 0", "kind 2")),
    "cub200": Expected((3, 224, 224), ("Bird_0", "Bird_1")),
}


def below(root: Path, name: str, **more) -> Data:
    return Data(name=name, root=str(root), unverified=True, validation=0.25, **more)


def test_every_data_set_of_files_has_a_layout_here(layouts):
    assert layouts.keys() == EXPECTED.keys() == {name for name, d in DATASETS.items() if d.files}


@pytest.mark.parametrize("name", EXPECTED)
def test_original_layouts_are_read(layouts, tmp_path, name):
    layouts[name](tmp_path)
    splits = load(below(tmp_path, name, size=None), seed=0)
    parts = [splits.train, splits.validation, splits.test]
    assert [len(part) for part in parts] == [30, 10, 10]
    for part in parts:
        assert image_shape(part.images) == EXPECTED[name].shape
        assert part.class_names[: len(EXPECTED[name].names)] == EXPECTED[name].names
        assert (part.name, part.licence) == (name, DATASETS[name].licence)
        assert part.labels.dtype == torch.int64


@pytest.mark.parametrize("name", EXPECTED)
def test_seeds_change_the_validation_images_and_never_the_test_images(layouts, tmp_path, name, pixels):
    layouts[name](tmp_path)
    one, same, other = (load(below(tmp_path, name, test_limit=None), seed) for seed in (1, 1, 2))
    assert pixels(one.validation) == pixels(same.validation)
    assert pixels(one.train) == pixels(same.train)
    assert pixels(one.validation) != pixels(other.validation)
    assert pixels(one.test) == pixels(other.test)


def test_images_and_labels_belong_together(layouts, tmp_path, counting, pixels):
    layouts["mnist"](tmp_path)
    splits = load(below(tmp_path, "mnist"), 0)
    label = {image.tobytes(): row % 10 for row, image in enumerate(counting((40, 28, 28)))}
    for part in (splits.train, splits.validation):
        assert [label[image] for image in pixels(part)] == part.labels.tolist()


def test_planes_of_cifar_are_colours(layouts, tmp_path, counting):
    layouts["cifar100"](tmp_path)
    test = load(below(tmp_path, "cifar100"), 0).test
    assert test.images[7, 2, 3, 4] == counting((10, 3072))[7, 2 * 1024 + 3 * 32 + 4]
    assert test.coarse.tolist() == [0] * 5 + [1] * 5
    assert test.coarse_names == ("low", "high")


def test_batches_of_cifar10_are_joined_in_order(layouts, tmp_path):
    layouts["cifar10"](tmp_path)
    data = below(tmp_path, "cifar10")
    splits = load(data, 0)
    labels = torch.cat([splits.train.labels, splits.validation.labels])
    expected = [(4 * number + i) % 10 for number in range(1, 6) for i in range(8)]
    assert labels.bincount().tolist() == np.bincount(expected).tolist()
    assert splits.test.labels.tolist() == list(range(10))


def test_classes_of_tinyimagenet_are_numbered_as_in_wnids(layouts, tmp_path):
    layouts["tinyimagenet"](tmp_path)
    assert load(below(tmp_path, "tinyimagenet", size=8), 0).test.labels.tolist() == [
        [2, 1, 3, 0][i % 4] for i in range(10)
    ]


def test_birds_keep_their_official_split(layouts, tmp_path):
    layouts["cub200"](tmp_path)
    splits = load(below(tmp_path, "cub200", size=8), 0)
    names = [path.name for path in splits.test.images.paths]
    assert names == [f"Bird_{i}.jpg" for i in range(40, 50)]
    assert splits.test.labels.tolist() == [i % 5 for i in range(10)]


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("image_class_labels.txt", "1 1\n", "image 2 has no label or no split"),
        ("image_class_labels.txt", "1 crow\n", "image 1 has no label or no split"),
        ("train_test_split.txt", "1 yes\n", "image 1 has no label or no split"),
        ("classes.txt", "1\n", r"classes\.txt: wanted two columns, got '1'"),
    ],
)
def test_a_damaged_table_is_named(layouts, tmp_path, file, text, complaint):
    layouts["cub200"](tmp_path)
    (tmp_path / "CUB_200_2011" / file).write_text(text)
    with pytest.raises(UserError, match=complaint):
        load(below(tmp_path, "cub200"), 0)


def test_an_original_of_another_md5_is_refused(layouts, tmp_path):
    layouts["mnist"](tmp_path)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz has md5 .* --data\.unverified"):
        load(replace(below(tmp_path, "mnist"), unverified=False), 0)


def test_an_original_of_the_known_md5_is_accepted(layouts, tmp_path, monkeypatch):
    layouts["kmnist"](tmp_path)
    md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in tmp_path.rglob("*.gz")}
    monkeypatch.setitem(DATASETS, "kmnist", replace(DATASETS["kmnist"], md5=md5))
    assert len(load(replace(below(tmp_path, "kmnist"), unverified=False), 0).test) == 10


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"labels": [0]}, "has no 'data'; it holds labels"),
        (
            {"data": np.zeros((10, 3071), np.uint8), "labels": [0]},
            r"uint8 \(n, 3072\), got uint8 \(10, 3071\)",
        ),
        ({"data": np.zeros((10, 3072)), "labels": [0]}, r"an array of f8, not of bytes"),
    ],
)
def test_a_pickle_without_cifar_images_is_refused(layouts, cifar_bytes, tmp_path, content, complaint):
    layouts["cifar10"](tmp_path)
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(cifar_bytes(content))
    with pytest.raises(UserError, match=complaint):
        load(below(tmp_path, "cifar10"), 0)


def test_labels_out_of_range_are_refused(layouts, idx_bytes, tmp_path):
    layouts["fashion-mnist"](tmp_path)
    labels = np.arange(10)
    labels[3] = 10
    (tmp_path / "FashionMNIST/raw/t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    with pytest.raises(UserError, match="fashion-mnist: image 3 has label 10, wanted 0 to 9"):
        load(below(tmp_path, "fashion-mnist"), 0)


def test_digits_need_no_file():
    splits = load(Data(), seed=0)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1294, 144, 359]
    assert splits.train.images.shape[1:] == (1, 8, 8)
    assert splits.train.images.max() == 255
    assert splits.test.labels.bincount().tolist() == pytest.approx([35.9] * 10, abs=2)


def test_limits_are_for_training_with_validation_and_for_testing(pixels):
    splits = load(Data(limit=200, test_limit=50), seed=3)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [180, 20, 50]
    assert pixels(splits.test) == pixels(load(Data(limit=100, test_limit=50), seed=4).test)


# names


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("fashon-mnist", "no data set 'fashon-mnist'; did you mean 'fashion-mnist'"),
        ("folder", "write folder:PATH"),
        ("npz:", "write npz:PATH"),
        ("mnist:/data", "write mnist, which takes no path"),
    ],
)
def test_a_name_that_is_none_says_what_to_write(name, complaint):
    with pytest.raises(UserError, match=complaint):
        find_dataset(name)


def test_a_size_below_a_pixel_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least one pixel, got 0"):
        load(Data(name=f"folder:{tmp_path}", size=0), seed=0)


# sizes


@pytest.mark.parametrize(("size", "resize"), [(36, None), (36, 44), (28, 44), (28, 28), (20, 23), (5, None)])
def test_images_in_memory_are_resized_and_keep_their_labels(layouts, tmp_path, size, resize):
    layouts["mnist"](tmp_path)
    splits = load(below(tmp_path, "mnist", size=size, resize=resize), 0)
    for part in (splits.train, splits.validation, splits.test):
        assert image_shape(part.images) == (1, size, size)
        assert part.images.dtype == torch.uint8
    plain = load(below(tmp_path, "mnist"), 0)
    for part, before in ((splits.train, plain.train), (splits.test, plain.test)):
        assert torch.equal(part.labels, before.labels)
        assert torch.equal(part.images, squares(before.images, size, resize))


@pytest.mark.parametrize("name", ["cub200", "tinyimagenet"])
def test_images_of_files_are_resized_before_the_crop(layouts, tmp_path, name):
    layouts[name](tmp_path)
    plain, larger = (load(below(tmp_path, name, size=8, resize=resize), 0).test for resize in (None, 10))
    assert image_shape(plain.images) == image_shape(larger.images) == (3, 8, 8)
    assert not torch.equal(plain.images.decode(0), larger.images.decode(0))


def shrunk(image: np.ndarray, size: int, resize: int) -> np.ndarray:
    """One image (h, w, 3), as Pillow scales it and then cuts it."""
    h, w = image.shape[:2]
    scale = resize / min(h, w)
    scaled = Image.fromarray(image).resize((int(w * scale), int(h * scale)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    return np.array(scaled.crop((left, top, left + size, top + size)))


SIZES = [
    ((28, 28), 36, 44),
    ((28, 28), 14, 14),
    ((40, 40), 16, 20),
    ((60, 40), 16, 20),
    ((40, 80), 20, 20),
    ((64, 64), 8, 16),
]


@pytest.mark.parametrize(("shape", "size", "resize"), SIZES)
def test_memory_and_files_agree_with_scaling_and_cutting_by_hand(tmp_path, shape, size, resize):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    memory = squares(torch.from_numpy(image).permute(2, 0, 1)[None], size, resize)[0]
    file = ImageFiles((tmp_path / "a.png",), size, resize).decode(0)
    expected = torch.from_numpy(shrunk(image, size, resize)).permute(2, 0, 1).int()
    assert (memory.int() - expected).abs().max() <= 1
    assert (file.int() - expected).abs().max() <= 1


def test_mistakes_of_scaling_are_seen():
    image = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    right = squares(x, 16, 20).int()
    scaled = functional.interpolate(x.float(), (30, 20), mode="bilinear", antialias=True)
    plain = functional.interpolate(x.float(), (30, 20), mode="bilinear")
    assert (scaled[:, :, 7:23, 2:18].round().int() - right).abs().max() == 0
    mistakes = {
        "cut at the corner": scaled[:, :, :16, :16],
        "sides squeezed": functional.interpolate(x.float(), (16, 16), mode="bilinear", antialias=True),
        "not antialiased": plain[:, :, 7:23, 2:18],
        "resize forgotten": squares(x, 16).float(),
    }
    assert all((wrong.round().int() - right).abs().max() > 20 for wrong in mistakes.values())


def test_many_images_are_resized_like_each_of_them_and_few_at_once(monkeypatch):
    x, together = torch.randint(0, 256, (2 * AT_ONCE + 3, 1, 6, 6), dtype=torch.uint8), []
    resize = v2.functional.resize
    monkeypatch.setattr(
        v2.functional, "resize", lambda y, *a, **k: together.append(len(y)) or resize(y, *a, **k)
    )
    found = squares(x, 4, 5)
    assert together == [AT_ONCE, AT_ONCE, 3]
    for row in (0, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE + 2):
        assert torch.equal(found[row], squares(x[row : row + 1], 4, 5)[0])


def test_images_of_that_size_are_unchanged_and_constant_images_stay_constant():
    x = torch.randint(0, 256, (3, 3, 9, 9), dtype=torch.uint8)
    assert torch.equal(squares(x, 9), x)
    assert torch.equal(squares(x, 5, 9), x[:, :, 2:7, 2:7])
    assert (squares(torch.full((1, 1, 7, 5), 255, dtype=torch.uint8), 36, 44) == 255).all()


def test_size_of_the_images_reaches_the_digits():
    assert load(Data(size=16), seed=0).train.images.shape[1:] == (1, 16, 16)


@pytest.mark.parametrize(("size", "resize"), [(36, 35), (None, 44), (4, 0)])
def test_a_resize_below_the_size_is_refused(size, resize):
    with pytest.raises(UserError, match=f"data.resize must be at least data.size, .* {resize} and {size}"):
        load(Data(size=size, resize=resize), seed=0)


# encoders


def test_default_encoders_are_encoders_and_follow_the_size_of_arrays():
    assert default_encoder("digits", 8) == "mlp"
    assert default_encoder("npz:a.npz", 32) == "small_cnn"
    assert default_encoder("npz:a.npz", 33) == "resnet18"
    assert default_encoder("folder:a", 8) == "resnet18"


@pytest.mark.parametrize("name", DATASETS)
def test_entries_of_the_catalogue_are_complete(name):
    dataset = DATASETS[name]
    assert dataset.name == name
    assert dataset.title
    assert bool(dataset.files) == bool(dataset.folders)
    assert {file.removesuffix(".gz") for file in dataset.md5} <= {
        f.removesuffix(".gz") for f in dataset.files
    }
    assert all(len(md5) == 32 for md5 in dataset.md5.values())
    if name not in ("folder", "npz"):
        assert dataset.licence
        assert dataset.source.startswith("http")


# the originals, where they are


@dataclass(frozen=True)
class Real:
    first: list[int]  # labels of the first test images
    counts: list[int]  # test images of each class
    names: tuple[str, str]  # of the first class and of the last


REAL_SETS = {
    "mnist": Real([7, 2, 1, 0, 4], [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009], ("0", "9")),
    "fashion-mnist": Real([9, 2, 1, 1, 6], [1000] * 10, ("T-shirt/top", "Ankle boot")),
}


@pytest.mark.parametrize("name", REAL_SETS)
def test_real_originals(name, pixels):
    if not (REAL / name).is_dir():
        pytest.skip(f"no {REAL / name}; set LATENTLOOM_DATA to the folder of the data sets")
    splits, real = load(Data(name=name, root=str(REAL)), seed=0), REAL_SETS[name]
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [54_000, 6_000, 10_000]
    assert all(part.images.shape[1:] == (1, 28, 28) for part in parts)
    assert splits.train.class_names[:: len(real.counts) - 1] == real.names
    assert splits.test.labels[:5].tolist() == real.first
    assert splits.test.labels.bincount().tolist() == real.counts
    assert len(set(pixels(splits.train)) & set(pixels(splits.validation))) < 20  # a few are in it twice
