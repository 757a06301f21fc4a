"""Which images are used for what: checks, stratified choices, the validation split."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.data.files import undecodable
from latentloom.values import Images, ImageSet

FIXED_SEED = 0  # test images are the same in every run
TEST_SHARE = 0.2


@dataclass(frozen=True)
class Chosen:
    """Some rows of images that are decoded when asked for."""

    images: Images
    rows: Tensor  # (n,)

    def __len__(self) -> int:
        return len(self.rows)

    def decode(self, row: int) -> Tensor:
        """The image of one row, uint8 (c, h, w)."""
        return self.images.decode(int(self.rows[row]))


def subset(image_set: ImageSet, rows: Tensor) -> ImageSet:
    """The images of these rows, (m,), in this order."""
    images = image_set.images
    return replace(
        image_set,
        images=images[rows] if isinstance(images, Tensor) else Chosen(images, rows),
        labels=image_set.labels[rows],
        coarse=None if image_set.coarse is None else image_set.coarse[rows],
    )


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """All rows in a random order of which every beginning holds the classes in their proportions.

    The k-th image of a class of n, k = 0, 1, ..., stands at k / n; where several stand at the same
    place, chance decides. So a beginning as long as there are classes holds one image of each, and in
    none has a class more than one image above its share.

    >>> labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    >>> labels[stratified_order(labels, seed=0)][:4].sum()
    tensor(1)
    """
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    grouped = shuffled[labels[shuffled].argsort(stable=True)]
    group = labels[grouped] + 1  # unlabelled images are a class of their own
    counts = group.bincount()
    within = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[group]
    place = torch.empty(len(labels), dtype=torch.double)
    place[grouped] = within.double() / counts[group]
    return shuffled[place[shuffled].argsort(stable=True)]


def split_validation(train: ImageSet, share: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Split off a stratified share of the labelled images: (training, validation).

    Every class keeps a training image, so a class with one image stays in training, as do unlabelled
    images.
    """
    labelled = (train.labels >= 0).nonzero().squeeze(1)
    taken = round(share * len(labelled))
    classes = int(train.labels[labelled].bincount().count_nonzero())
    if not 0 < taken <= len(labelled) - classes:
        raise UserError(
            f"{train.name}: a share of {share} takes {taken} of {len(labelled)} labelled images of {classes} "
            "classes; wanted at least one, leaving one of each class; add images, or change data.validation"
        )
    order = labelled[stratified_order(train.labels[labelled], seed)]
    return _apart(train, order[len(order) - taken :])


def split_halves(test: ImageSet) -> tuple[ImageSet, ImageSet]:
    """(validation, test): the test images in halves, always the same, of every class alike.

    Of an odd number of labelled images one more stays in test, as do unlabelled images.

    Paper: LARESA (ICLR 2026 submission), there at random with a fixed seed; here stratified, which gives
    halves of the same sizes and takes from both the noise of how often a class is in them.
    """
    labelled = (test.labels >= 0).nonzero().squeeze(1)
    if len(labelled) < 2:
        raise UserError(
            f"{test.name}: {len(labelled)} labelled test images cannot be split in halves; add some, or take "
            "validation images from the training images with data.split train"
        )
    order = labelled[stratified_order(test.labels[labelled], FIXED_SEED)]
    rest, validation = _apart(test, order[: len(order) // 2])
    return validation, rest


def split_test(whole: ImageSet) -> tuple[ImageSet, ImageSet]:
    """(training, test) of a data set without a split of its own: a stratified fifth, always the same."""
    check_classes(whole)
    return split_validation(whole, TEST_SHARE, FIXED_SEED)


def limit(image_set: ImageSet, n: int | None, seed: int) -> ImageSet:
    """A stratified choice of n images, in their old order; all of them where n is None or exceeds them."""
    if n is None or n >= len(image_set):
        return image_set
    if n <= len(image_set.class_names):
        raise UserError(
            f"{image_set.name}: a limit of {n} images for {len(image_set.class_names)} classes; "
            "wanted more images than classes"
        )
    return subset(image_set, stratified_order(image_set.labels, seed)[:n].sort().values)


def without_bad(image_set: ImageSet, skip: bool, workers: int) -> ImageSet:
    """The image set less the files that do not decode; unless they are to be skipped, an error.

    Every file is decoded once, so that no run fails over one in a later epoch. How many are left out is
    said in a warning.
    """
    if isinstance(image_set.images, Tensor):
        return image_set
    bad = undecodable(image_set.images, workers)
    if not bad:
        return image_set
    first = next(iter(bad.values()))
    if not skip:
        raise UserError(f"{first} ({len(bad)} of {len(image_set)} files)")
    warnings.warn(f"left out {len(bad)} of {len(image_set)} images, the first because {first}", stacklevel=2)
    return subset(image_set, torch.tensor([row for row in range(len(image_set)) if row not in bad]).long())


def _apart(image_set: ImageSet, rows: Tensor) -> tuple[ImageSet, ImageSet]:
    """The images less those of these rows, and those of these rows, both in their old order."""
    taken = torch.zeros(len(image_set), dtype=torch.bool)
    taken[rows] = True
    return subset(image_set, (~taken).nonzero().squeeze(1)), subset(image_set, taken.nonzero().squeeze(1))


def check_part(image_set: ImageSet) -> None:
    """Refuse images of another form, as many labels as there are not images, labels out of range."""
    images, labels, classes = image_set.images, image_set.labels, len(image_set.class_names)
    if isinstance(images, Tensor) and (images.ndim != 4 or images.dtype != torch.uint8):
        raise UserError(
            f"{image_set.name}: images must be uint8 (n, c, h, w), got {images.dtype} {tuple(images.shape)}"
        )
    if labels.shape != (len(images),) or not len(labels):
        raise UserError(
            f"{image_set.name}: wanted a label for each image and at least one image, "
            f"got {len(images)} images and labels {tuple(labels.shape)}"
        )
    outside = ((labels < -1) | (labels >= classes)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise UserError(
            f"{image_set.name}: image {row} has label {int(labels[row])}, wanted 0 to {classes - 1}, "
            "or -1 for unlabelled; correct the labels or the class names"
        )


def check_classes(train: ImageSet) -> None:
    """Refuse training images of fewer than two classes, or without an image of some class."""
    names = train.class_names
    if len(names) < 2:
        raise UserError(
            f"{train.name} has one class ({', '.join(names)}); a classifier needs at least two classes"
        )
    counts = train.labels[train.labels >= 0].bincount(minlength=len(names)).tolist()
    if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise UserError(
            f"{train.name}: no training image of {len(missing)} of {len(names)} classes "
            f"({', '.join(missing[:5])}); add images of them, or take the classes away"
        )
