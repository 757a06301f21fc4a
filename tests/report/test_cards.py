"""The card of a file: labels, training split, centres and names from wherever they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest

from latentloom.checks import UserError
from latentloom.evaluation.arrays import card_of
from latentloom.report.cards import card_at


def points(n: int = 60, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return (np.eye(3)[y] + 0.3 * random.normal(size=(n, 3))).astype(np.float32), y


Z, Y = points()
TRAIN_Z, TRAIN_Y = points(90, seed=1)


def test_labels_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", Z)
    (tmp_path / "y.txt").write_text("\n".join([["ape", "bee", "cat"][label] for label in Y]))
    assert card_at(tmp_path / "z.npy", labels=tmp_path / "y.txt") == card_of(Z, Y, split="z.npy")
    with pytest.raises(UserError, match=r"points and no labels; give a file of them with --labels"):
        card_at(tmp_path / "z.npy")
    (tmp_path / "y.txt").write_text("0\n1\n")
    with pytest.raises(UserError, match="has 60 points, and there are 2 labels"):
        card_at(tmp_path / "z.npy", labels=tmp_path / "y.txt")


def test_training_points_are_a_file_or_rows_of_the_table(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=Z, y=Y)
    np.savez(tmp_path / "train.npz", z=TRAIN_Z, y=TRAIN_Y)
    expected = card_of(Z, Y, train=(TRAIN_Z, TRAIN_Y), split="a.npz")
    assert card_at(tmp_path / "a.npz", train=tmp_path / "train.npz") == expected
    both = pandas.DataFrame(np.concatenate([Z, TRAIN_Z]), columns=["z_0", "z_1", "z_2"])
    both["y"] = np.concatenate([Y, TRAIN_Y])
    both["split"] = ["test"] * len(Y) + ["train"] * len(TRAIN_Y)
    both.sample(frac=1, random_state=0).sort_index().to_parquet(tmp_path / "a.parquet", index=False)
    found = card_at(tmp_path / "a.parquet")
    assert {name: f.value for name, f in found.findings.items()} == {
        name: f.value for name, f in expected.findings.items()
    }
    both["split"] = "train"
    both.to_parquet(tmp_path / "a.parquet", index=False)
    assert card_at(tmp_path / "a.parquet").images == 150


def test_centres_and_names_are_read_from_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=Z, y=Y)
    np.save(tmp_path / "centres.npy", np.eye(3))
    (tmp_path / "names.txt").write_text("cat\ndog\nship")
    found = card_at(tmp_path / "a.npz", centres=tmp_path / "centres.npy", class_names=tmp_path / "names.txt")
    assert found.value("nearest_centre_accuracy") == card_of(Z, Y, centres=np.eye(3)).value(
        "nearest_centre_accuracy"
    )
    assert "semantic_spearman" in found.findings


def test_errors_of_points_name_the_file_and_a_run_takes_no_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=Z * np.nan, y=Y)
    with pytest.raises(UserError, match="nan or infinity in 60 of 60 rows") as caught:
        card_at(tmp_path / "a.npz")
    assert caught.value.__notes__ == [f"in {tmp_path / 'a.npz'}"]
    with pytest.raises(UserError, match="leave out --labels"):
        card_at(tmp_path, labels=tmp_path / "y.txt")
    np.save(tmp_path / "train.npy", Z)
    np.savez(tmp_path / "b.npz", z=Z, y=Y)
    with pytest.raises(UserError, match=r"train\.npy has points and no labels"):
        card_at(tmp_path / "b.npz", train=tmp_path / "train.npy")
