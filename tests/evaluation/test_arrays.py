"""The card of arrays: what may be given, and what is refused in one message."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentloom.checks import UserError
from latentloom.evaluation import take_card
from latentloom.evaluation.arrays import card_of
from latentloom.values import Card, Latent


def points(n: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that overlap, as float32 and whole numbers."""
    random = np.random.default_rng(seed)
    y = random.integers(3, size=n)
    return (np.eye(3, 4)[y] + 0.4 * random.normal(size=(n, 4))).astype(np.float32), y


def taken(z: np.ndarray, y: np.ndarray, **more: Any) -> Card:
    latent = Latent({"z": torch.from_numpy(z), "y": torch.from_numpy(y)})
    return take_card(latent, None, split="latents", bootstrap=50, **more)


def test_whatever_holds_the_numbers_the_card_is_the_same(tmp_path: Path) -> None:
    z, y = points()
    np.save(tmp_path / "z.npy", z)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    expected = taken(z, y)
    names = np.array(["ape", "bee", "cat"])[y]
    for given in (z, z.tolist(), torch.from_numpy(z), mapped, z[::-1][::-1], z.astype(">f4"), np.float64(z)):
        assert card_of(given, y, bootstrap=50) == expected
    for labels in (
        y.tolist(),
        torch.from_numpy(y),
        7 + 10**12 * y,
        names,
        names.tolist(),
        names.astype(object),
    ):
        assert card_of(z, labels, bootstrap=50) == expected
    assert card_of((100 * z).astype(np.int16), y, bootstrap=0).value("effective_rank") > 1


def test_a_mapped_file_is_not_copied(tmp_path: Path) -> None:
    from latentloom.evaluation.arrays import _matrix

    z, _ = points()
    np.save(tmp_path / "z.npy", z)
    mapped = np.load(tmp_path / "z.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _matrix(mapped, "z").data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize("missing", [-1, None, "", float("nan")])
def test_points_without_a_label_are_left_out(missing: Any) -> None:
    z, y = points()
    names = np.array(["ape", "bee", "cat"], dtype=object)
    labels = [
        missing if row % 5 == 0 else (label if missing == -1 else names[label]) for row, label in enumerate(y)
    ]
    assert card_of(z, labels, bootstrap=50) == taken(z, np.where(np.arange(90) % 5 == 0, -1, y))


def test_gaps_in_a_column_of_numbers_are_missing_labels() -> None:
    z, y = points()
    gaps = np.where(np.arange(90) % 5 == 0, np.nan, y)
    assert card_of(z, gaps, bootstrap=50) == taken(z, np.where(np.arange(90) % 5 == 0, -1, y))
    with pytest.raises(UserError, match="whole numbers or names"):
        card_of(z, gaps + 0.5)


def test_a_training_split_gives_centres_and_probes_and_names_are_matched_across() -> None:
    z, y = points()
    train_z, train_y = points(200, seed=1)
    latent = [
        Latent({"z": torch.from_numpy(a), "y": torch.from_numpy(b)}) for a, b in ((z, y), (train_z, train_y))
    ]
    expected = take_card(latent[0], latent[1], split="latents", bootstrap=50)
    assert card_of(z, y, train=(train_z, train_y), bootstrap=50) == expected
    names = np.array(["ape", "bee", "cat"])
    assert card_of(z, names[y], train=(train_z, names[train_y]), bootstrap=50) == expected
    some = y > 0  # the numbers of classes do not depend on which of them are in a split
    part = card_of(z[some], names[y[some]], train=(train_z, names[train_y]), bootstrap=0)
    assert part.value("knn_accuracy") > 0.5
    centres = np.stack([train_z[train_y == label].mean(0) for label in range(3)])
    found = card_of(z, y, centres=centres, bootstrap=0)
    assert found.value("nearest_centre_accuracy") == expected.value("nearest_centre_accuracy")
    assert "class centres of training latents" in found.findings["cluster_size"].protocol


def test_what_is_given_per_class_is_in_the_order_of_class_names() -> None:
    z, y = points()
    names, order = np.array(["ape", "bee", "cat"]), [2, 0, 1]
    logits = -np.square(z[:, None] - np.eye(3, 4)).sum(2)
    expected = card_of(z, y, logits=logits, bootstrap=0).value("accuracy")
    assert expected > 0.7
    turned = card_of(z, names[y], logits=logits[:, order], class_names=names[order].tolist(), bootstrap=0)
    assert turned.value("accuracy") == expected
    assert card_of(z, names[y], logits=logits, bootstrap=0).value("accuracy") == expected  # the alphabet


def test_groups_and_meanings_of_classes_add_their_scores() -> None:
    z, y = points()
    card = card_of(z, y, coarse_of=[0, 0, 1], label_embeddings=np.eye(3)[:, :2] + 0.1, bootstrap=0)
    assert {"semantic_spearman", "coarse_silhouette", "hit_rate"} <= card.findings.keys()
    assert card.findings["hit_rate"].high == pytest.approx(2 / 3)


Z, Y = points(6)
BAD = {
    "rows without labels": ((Z, Y[:5]), {}, "z has 6 rows and y 5"),
    "logits of other rows": ((Z, Y), {"logits": np.zeros((5, 3))}, "z has 6 rows and logits 5"),
    "nan": (
        (np.where(np.arange(6)[:, None] == 4, np.nan, Z), Y),
        {},
        "nan or infinity in 1 of 6 rows, first in row 4",
    ),
    "nan in training": (
        (Z, Y),
        {"train": (np.full((3, 4), np.inf), [0, 1, 2])},
        "z of train has nan or infinity in 3 of 3 rows",
    ),
    "training without labels": ((Z, Y), {"train": (Z, Y[:2])}, "z of train has 6 rows and y of train 2"),
    "maps": ((np.zeros((6, 2, 2)), Y), {}, "flatten maps"),
    "no points": ((np.zeros((0, 3)), []), {}, "at least one row"),
    "objects": ((Z.astype(object), Y), {}, "z must be numbers"),
    "rows of other lengths": (([[1.0], [1.0, 2.0]], [0, 1]), {}, "rows of different lengths"),
    "one-hot labels": ((Z, np.eye(3)[Y]), {}, "give argmax"),
    "a class that has no name": ((Z, ["a"] * 5 + ["x"]), {"class_names": ["a", "b"]}, "no class 'x'"),
    "a class without centre": (
        (Z, [0, 1, 2, 3, 0, 1]),
        {"centres": np.zeros((3, 4))},
        "class_centres has 3 rows",
    ),
    "a class without logit": ((Z, [0, 1, 2, 3, 0, 1]), {"logits": np.zeros((6, 3))}, "logits have 3 columns"),
    "centres twice": ((Z, Y), {"train": (Z, Y), "centres": np.zeros((3, 4))}, "leave out either"),
    "numbers and names": ((Z, ["a"] * 6), {"train": (Z, Y)}, "whole numbers or names"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_judged_is_one_clear_message(name: str) -> None:
    given, more, said = BAD[name]
    with pytest.raises(UserError, match=said):
        card_of(*given, **more)
