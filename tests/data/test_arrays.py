from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data import image_shape, load
from latentloom.values import Splits


def npz(path: Path, validation: float = 0.25, **arrays) -> Splits:
    np.savez(path / "set.npz", **arrays)
    return load(Data(name=f"npz:{path / 'set.npz'}", validation=validation), seed=0)


LABELS = np.arange(20) % 2


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((20, 6, 5), (1, 6, 5)),
        ((20, 6, 5, 1), (1, 6, 5)),
        ((20, 6, 5, 3), (3, 6, 5)),
        ((20, 3, 6, 5), (3, 6, 5)),
        ((20, 1, 6, 5), (1, 6, 5)),
    ],
)
def test_arrays_of_any_order_of_axes_are_read(tmp_path, counting, shape, expected):
    splits = npz(tmp_path, images=counting(shape), labels=LABELS)
    assert image_shape(splits.train.images) == expected
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert splits.train.class_names == ("0", "1")


def test_the_last_axis_is_taken_for_colours(tmp_path, counting):
    images = counting((20, 6, 5, 3))
    splits = npz(tmp_path, images=images, labels=LABELS, test_images=images, test_labels=LABELS[:, None])
    assert splits.test.images[7, 2, 4, 3] == images[7, 4, 3, 2]
    assert splits.test.labels.tolist() == LABELS.tolist()


def test_names_of_classes_and_unlabelled_images(tmp_path, counting):
    labels = np.array([0, 1, 2, -1] * 5)
    names = np.array(["cat", "dog", "bird"])
    splits = npz(tmp_path, 0.25, images=counting((20, 4, 4)), labels=labels, class_names=names)
    assert splits.train.class_names == ("cat", "dog", "bird")
    assert (splits.train.labels == -1).sum() == 5


def test_the_keys_of_medmnist_are_read_with_or_without_validation_images(tmp_path, counting):
    images = counting((20, 4, 4))
    parts = {"train_images": images, "train_labels": LABELS, "test_images": images, "test_labels": LABELS}
    assert len(npz(tmp_path, **parts).train) == 15
    both = npz(tmp_path, **parts, val_images=images, val_labels=LABELS)
    assert (len(both.train), len(both.validation), len(both.test)) == (30, 10, 20)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"labels": LABELS}, "has no 'images'; it holds labels"),
        ({}, "has no 'images'; it holds nothing"),
        ({"images": np.zeros((20, 4, 4), np.uint8)}, "has no 'labels'"),
        ({"images": np.zeros((20, 4, 4)), "labels": LABELS}, r"got float64 \(20, 4, 4\); from floats"),
        ({"images": np.zeros((20, 4, 4, 4), np.uint8), "labels": LABELS}, "with 1 or 3 channels"),
        ({"images": np.zeros((20, 16), np.uint8), "labels": LABELS}, r"got uint8 \(20, 16\)"),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": LABELS / 2}, "whole numbers .* got float64"),
        (
            {"images": np.zeros((20, 4, 4), np.uint8), "labels": np.eye(20, dtype=int)},
            r"got int64 \(20, 20\)",
        ),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": np.array(["a"] * 20)}, "got <U1"),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": np.int64(3)}, r"got int64 \(\)"),
        ({"images": np.zeros((19, 4, 4), np.uint8), "labels": LABELS}, "got 19 images and labels"),
        ({"images": np.zeros((0, 4, 4), np.uint8), "labels": LABELS[:0]}, "got 0 images"),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": 0 * LABELS}, "at least two classes"),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": 2 * LABELS}, r"no training image of 1 .*\(1\)"),
        (
            {
                "images": np.zeros((20, 4, 4), np.uint8),
                "labels": LABELS + 1,
                "class_names": np.array(["a", "b"]),
            },
            "image 1 has label 2, wanted 0 to 1",
        ),
    ],
)
def test_arrays_that_cannot_be_learned_from_are_refused(tmp_path, arrays, complaint):
    with pytest.raises(UserError, match=complaint):
        npz(tmp_path, **arrays)
