"""Coarse labels of loaded images, and the paper's split."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data import DATASETS, load
from latentloom.data.splits import split_halves, split_validation, stratified_order, subset
from latentloom.names.coarse import coarse_map, coarse_of
from latentloom.names.words import words_of
from latentloom.values import ImageSet

REAL = Path(os.environ.get("LATENTLOOM_DATA") or Path(__file__).parents[3] / "shared" / "data")
ODD = "odd: [1, 3, 5, 7, 9]\neven: [0, 2, 4, 6, 8]\n"

# As CIFAR-100 has them: the names of its classes in their order, and the coarse label of each.
IN_ORDER = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel "
    "can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur "
    "dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion "
    "lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree "
    "pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea "
    "seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table "
    "tank telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman "
    "worm"
)
CIFAR_NAMES = IN_ORDER.split()
CIFAR_COARSE = [
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
]


def write_cifar100(root: Path, cifar_bytes: Callable[[dict[str, Any]], bytes], images: int = 3) -> Data:
    """Tiny images in the layout of CIFAR-100, with its own names and coarse labels: some of each class."""
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    fine = [row % 100 for row in range(100 * images)]
    labels = {"fine_labels": fine, "coarse_labels": [CIFAR_COARSE[label] for label in fine]}
    content = {"data": np.zeros((len(fine), 3072), np.uint8), **labels}
    for name in ("train", "test"):
        (folder / name).write_bytes(cifar_bytes(content))
    groups = [f"group_{number}" for number in range(20)]
    meta = {"fine_label_names": CIFAR_NAMES, "coarse_label_names": groups}
    (folder / "meta").write_bytes(cifar_bytes(meta))
    return Data(name="cifar100", root=str(root), unverified=True, validation=1 / 3)


def parts(data: Data, seed: int = 0) -> tuple[ImageSet, ImageSet, ImageSet]:
    splits = load(data, seed)
    return splits.train, splits.validation, splits.test


# coarse labels


def test_a_map_of_the_user_labels_every_split(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(ODD)
    for part in parts(Data(coarse=str(tmp_path / "groups.yaml"))):
        assert part.coarse_names == ("odd", "even")
        assert part.coarse is not None
        assert torch.equal(part.coarse, 1 - part.labels % 2)
    assert all(part.coarse is None and part.coarse_names == () for part in parts(Data()))


def test_coarse_labels_leave_images_and_labels_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(ODD)
    for seed in (0, 3):
        plain = parts(Data(limit=300), seed)
        for part, before in zip(
            parts(Data(limit=300, coarse=str(tmp_path / "groups.yaml")), seed), plain, strict=True
        ):
            assert torch.equal(part.images, before.images)
            assert torch.equal(part.labels, before.labels)


def test_unlabelled_images_have_no_coarse_label(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text("first: [a, c]\nsecond: [b]\n")
    labels = torch.arange(60) % 4 - 1
    arrays = {"images": np.zeros((60, 4, 4), np.uint8), "labels": labels.numpy()}
    np.savez(tmp_path / "made.npz", **arrays, class_names=np.array(["a", "b", "c"]))
    data = Data(name=f"npz:{tmp_path / 'made.npz'}", coarse=str(tmp_path / "groups.yaml"), validation=0.25)
    for part in parts(data):
        assert part.coarse is not None
        assert part.coarse.tolist() == [{-1: -1, 0: 0, 1: 1, 2: 0}[label] for label in part.labels.tolist()]
    assert (load(data, 0).train.labels == -1).any()


def test_a_map_that_misses_a_class_is_refused_when_loading(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text(ODD.replace(", 8", ""))
    with pytest.raises(UserError, match=r"groups\.yaml has no group for 1 class \(8\)"):
        load(Data(coarse=str(tmp_path / "groups.yaml")), 0)
    with pytest.raises(UserError, match="LARESA has no groups of the classes of digits"):
        load(Data(coarse="paper"), 0)


def test_the_papers_groups_of_cifar100_are_its_coarse_labels(tmp_path: Path, cifar_bytes: Any) -> None:
    data = write_cifar100(tmp_path, cifar_bytes)
    own, paper = load(data, 0), load(replace(data, coarse="paper"), 0)
    for part, other in zip(parts(data), parts(replace(data, coarse="paper")), strict=True):
        assert torch.equal(part.coarse, other.coarse)
    assert coarse_of(own.train).tolist() == coarse_of(paper.train).tolist() == CIFAR_COARSE
    assert own.train.coarse_names[0] == "group_0"
    assert paper.train.coarse_names[:2] == ("aquatic mammals", "fish")


def test_a_map_of_the_user_comes_before_the_coarse_labels_of_the_data(
    tmp_path: Path, cifar_bytes: Any
) -> None:
    data = write_cifar100(tmp_path, cifar_bytes)
    rest = ", ".join(name for name in CIFAR_NAMES if name != "apple")
    (tmp_path / "groups.yaml").write_text(f"fruit: [Apple]\nrest: [{rest}]\n")
    found = coarse_of(load(replace(data, coarse=str(tmp_path / "groups.yaml")), 0).train)
    assert found.tolist() == [0] + [1] * 99


def test_the_papers_groups_are_those_of_the_real_cifar100() -> None:
    if not any((REAL / folder / "meta").is_file() for folder in DATASETS["cifar100"].folders):
        pytest.skip(f"no CIFAR-100 in {REAL}; set LATENTLOOM_DATA to the folder of the data sets")
    splits = load(Data(name="cifar100", root=str(REAL)), 0)
    paper = coarse_map("paper", "cifar100", splits.train.class_names)
    assert list(splits.train.class_names) == CIFAR_NAMES
    for part in (splits.train, splits.validation, splits.test):
        assert torch.equal(coarse_of(part), paper.coarse_of)
        assert torch.equal(part.coarse, paper.labels(part.labels))
    assert paper.coarse_of.tolist() == CIFAR_COARSE
    differently = {"medium mammals": "medium-sized mammals"}
    names = [words_of(name) for name in splits.train.coarse_names]
    assert [words_of(differently.get(name, name)) for name in names] == [*map(words_of, paper.names)]


# the paper's split


def test_all_training_images_train_and_halves_of_the_test_images_validate_and_test(
    pixels: Callable[[ImageSet], list[bytes]],
) -> None:
    plain, paper = load(Data(), 0), load(Data(split="paper"), 0)
    assert sorted(pixels(paper.train)) == sorted(pixels(plain.train) + pixels(plain.validation))
    assert sorted(pixels(paper.validation) + pixels(paper.test)) == sorted(pixels(plain.test))
    assert [len(part) for part in (paper.train, paper.validation, paper.test)] == [1438, 179, 180]
    for a, b in ((paper.validation, paper.test), (paper.test, paper.validation)):
        assert all(abs(a.labels.bincount() - b.labels.bincount()) <= 2)


def test_the_papers_split_is_the_same_for_every_seed(pixels: Callable[[ImageSet], list[bytes]]) -> None:
    one, other = (parts(Data(split="paper"), seed) for seed in (1, 2))
    assert [pixels(part) for part in one] == [pixels(part) for part in other]


def test_limits_come_before_the_papers_split() -> None:
    data = Data(split="paper", limit=100, test_limit=50)
    assert [len(part) for part in parts(data)] == [100, 25, 25]


def test_coarse_labels_and_the_papers_split_together(tmp_path: Path, cifar_bytes: Any) -> None:
    train, validation, test = parts(replace(write_cifar100(tmp_path, cifar_bytes, images=4), split="paper"))
    assert [len(part) for part in (train, validation, test)] == [400, 200, 200]
    for part in (validation, test):
        assert part.labels.bincount().tolist() == [2] * 100
        assert part.coarse.tolist() == [CIFAR_COARSE[label] for label in part.labels.tolist()]


def numbered(labels: list[int]) -> ImageSet:
    pixels = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None]
    return ImageSet("numbered", pixels, torch.tensor(labels), tuple("abc"))


def rows_of(image_set: ImageSet) -> list[int]:
    return image_set.images[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("labels", [[0] * 6 + [1] * 4, [0, 1, 2, 2, 1], [2, 2], [0] * 7 + [-1] * 3 + [1] * 2])
def test_halves_share_no_image_lose_none_and_unlabelled_images_stay_in_test(labels: list[int]) -> None:
    validation, test = split_halves(numbered(labels))
    assert sorted(rows_of(validation) + rows_of(test)) == list(range(len(labels)))
    labelled = sum(label >= 0 for label in labels)
    assert len(validation) == labelled // 2
    assert -1 not in validation.labels
    assert rows_of(validation) == sorted(rows_of(validation))
    assert [labels[row] for row in rows_of(test)] == test.labels.tolist()


def test_halves_are_not_the_first_and_the_last_of_the_test_images() -> None:
    validation, _ = split_halves(numbered([0] * 40))
    assert rows_of(validation) != list(range(20))
    assert rows_of(validation) != list(range(20, 40))


@pytest.mark.parametrize("labels", [[0], [-1, -1, 1]])
def test_too_few_test_images_to_split(labels: list[int]) -> None:
    with pytest.raises(UserError, match=r"numbered: [01] labelled test images cannot be split in halves"):
        split_halves(numbered(labels))


def test_the_default_split_is_the_one_it_always_was() -> None:
    """A stratified order of the labelled images, of which the last are held out."""
    labels = (torch.arange(200) ** 2 % 11 % 4 - 1).tolist()
    whole = replace(numbered(labels), class_names=tuple("abcd"))
    train, validation = split_validation(whole, 0.15, 7)
    labelled = (whole.labels >= 0).nonzero()[:, 0]
    taken = round(0.15 * len(labelled))
    last = labelled[stratified_order(whole.labels[labelled], 7)][-taken:].sort().values
    assert rows_of(validation) == rows_of(subset(whole, last))
    assert rows_of(train) == sorted({*range(200)} - {*last.tolist()})
    digits = load(Data(), 0)
    assert [hash_of(part) for part in (digits.train, digits.validation, digits.test)] == KNOWN


def hash_of(image_set: ImageSet) -> int:
    """A number that depends on every image and label, and on their order."""
    weights = torch.arange(1, len(image_set) + 1)
    sums = image_set.images.long().flatten(1).sum(1) * 10 + image_set.labels
    return int((weights * sums).sum())


KNOWN = [41660615528, 512778832, 3228250462]
