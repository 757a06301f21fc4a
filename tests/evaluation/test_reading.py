"""Latents from files of anyone; files that are not such are refused in one message."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
from pyarrow import parquet

from latentloom.checks import UserError
from latentloom.evaluation.reading import read_labels, read_lines, read_points

Z = np.random.default_rng(0).normal(size=(7, 12)).astype(np.float32)
Y = np.arange(7) % 3


def columns(z: np.ndarray = Z) -> pandas.DataFrame:
    return pandas.DataFrame(z, columns=[f"z_{k}" for k in range(z.shape[1])])


def written(table: pandas.DataFrame, path: Path, rows: int = 3) -> Path:
    table.to_parquet(path, index=False, row_group_size=rows)
    return path


@pytest.mark.parametrize("label", ["y", "label"])
def test_columns_of_coordinates_in_any_order_of_columns(label: str, tmp_path: Path) -> None:
    table = columns()[[f"z_{k}" for k in (11, *range(11))]].assign(**{label: Y})
    found = read_points(written(table, tmp_path / "a.parquet"))
    assert (found.z == Z).all()
    assert found.z.dtype == np.float32
    assert found.y is not None
    assert found.y.tolist() == Y.tolist()
    assert found.trained is None


@pytest.mark.parametrize("column", ["latent", "z", "embedding"])
def test_a_column_of_lists(column: str, tmp_path: Path) -> None:
    lists = pandas.DataFrame({column: list(Z.astype(np.float64)), "y": Y.astype(str)})
    found = read_points(written(lists, tmp_path / "a.parquet"))
    assert np.allclose(found.z, Z)
    assert found.y is not None
    assert found.y.tolist() == Y.astype(str).tolist()
    fixed = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(Z.reshape(-1)), 12)
    parquet.write_table(pyarrow.table({column: fixed}), tmp_path / "b.parquet")
    found = read_points(tmp_path / "b.parquet")
    assert (found.z == Z).all()
    assert found.y is None


def test_a_column_split_tells_training_rows(tmp_path: Path) -> None:
    table = columns().assign(y=pandas.Categorical(Y), split=["train"] * 4 + ["test"] * 3)
    found = read_points(written(table, tmp_path / "a.parquet"))
    assert found.trained is not None
    assert found.trained.tolist() == [True] * 4 + [False] * 3
    assert found.y is not None
    assert found.y.tolist() == Y.tolist()


def test_arrays_of_numpy_and_a_file_that_is_mapped(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", z=Z, y=Y)
    found = read_points(tmp_path / "a.npz")
    assert found.y is not None
    assert (found.z == Z).all()
    assert (found.y == Y).all()
    np.savez(tmp_path / "b.npz", z=Z)
    assert read_points(tmp_path / "b.npz").y is None
    np.save(tmp_path / "c.npy", Z)
    found = read_points(tmp_path / "c.npy")
    assert isinstance(found.z, np.memmap)
    assert (found.z == Z).all()
    assert found.y is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2\n0\n-1\n", [2, 0, -1]),
        (" cat\ndog \ncat", ["cat", "dog", "cat"]),
        ("1\ncat", ["1", "cat"]),
        ("--5\n1", ["--5", "1"]),
        ("9" * 20 + "\n1", ["9" * 20, "1"]),
    ],
)
def test_labels_of_a_text_are_numbers_where_all_are(
    text: str, expected: list[object], tmp_path: Path
) -> None:
    (tmp_path / "y.txt").write_text(text)
    assert read_labels(tmp_path / "y.txt").tolist() == expected
    np.save(tmp_path / "y.npy", np.array(expected))
    assert read_labels(tmp_path / "y.npy").tolist() == expected


def _torn(path: Path, whole: bytes) -> Path:
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _lists_of_other_lengths(folder: Path) -> Path:
    return written(pandas.DataFrame({"z": [[1.0], [1.0, 2.0]], "y": [0, 1]}), folder / "a.parquet")


def _a_list_missing(folder: Path) -> Path:
    return written(pandas.DataFrame({"z": [[1.0], None], "y": [0, 1]}), folder / "a.parquet")


def _without_z(folder: Path) -> Path:
    return written(pandas.DataFrame({f"x_{k}": [0.0] for k in range(12)}), folder / "a.parquet")


def _from_one(folder: Path) -> Path:
    return written(columns().rename(columns={"z_0": "z_12"}), folder / "a.parquet")


def _torn_parquet(folder: Path) -> Path:
    return _torn(folder / "b.parquet", written(columns(), folder / "a.parquet").read_bytes())


def _words_for_numbers(folder: Path) -> Path:
    return written(pandas.DataFrame({"z_0": ["a", "b"], "y": [0, 1]}), folder / "a.parquet")


def _empty_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz")
    return folder / "a.npz"


def _torn_npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", z=Z, y=Y)
    return _torn(folder / "b.npz", (folder / "a.npz").read_bytes())


def _torn_npy(folder: Path) -> Path:
    np.save(folder / "a.npy", Z)
    return _torn(folder / "b.npy", (folder / "a.npy").read_bytes())


def _objects(folder: Path) -> Path:
    np.savez(folder / "a.npz", z=Z.astype(object), y=Y)
    return folder / "a.npz"


def _a_number(folder: Path) -> Path:
    np.savez(folder / "a.npz", z=np.float32(1), y=Y)
    return folder / "a.npz"


def _table_of_text(folder: Path) -> Path:
    (folder / "a.csv").write_text("z_0,y\n0,1\n")
    return folder / "a.csv"


BAD: dict[Callable[[Path], Path], str] = {
    _lists_of_other_lengths: "lists of z are of different lengths, or missing",
    _a_list_missing: "lists of z are of different lengths, or missing",
    _without_z: r"no columns z_0, .* lists called latent, z, embedding, but x_0.* \.\.\.; wanted z and y",
    _from_one: "there are 12 columns z_..., but no z_0; number them from 0",
    _torn_parquet: "cannot read latents from .*; wanted z and y",
    _words_for_numbers: "cannot read latents from .*; wanted z and y",
    _empty_npz: "no z but nothing; wanted z and y",
    _torn_npz: "cannot read latents from .*; wanted z and y",
    _torn_npy: "cannot read latents from .*; wanted z and y",
    _objects: "Object arrays cannot be loaded",
    _a_number: r"z must be numbers \(n, d\), got float32 \(\)",
    _table_of_text: "neither .parquet nor .npz nor .npy",
    lambda folder: folder / "nowhere.npz": "there is no .*nowhere.npz; give a run's folder",
}


@pytest.mark.parametrize("made", BAD)
def test_a_bad_file_is_one_clear_message(made: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=BAD[made]) as caught:
        read_points(made(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


def test_labels_and_names_that_do_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array(["a", 1], dtype=object))
    with pytest.raises(UserError, match=r"cannot read labels from .*; wanted numbers or names"):
        read_labels(tmp_path / "y.npy")
    (tmp_path / "y.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="wanted a text"):
        read_lines(tmp_path / "y.txt")


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(columns(), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs pyarrow; install it with: pip install 'latentloom\[train\]'"):
        read_points(path)
