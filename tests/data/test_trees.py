from __future__ import annotations

from pathlib import Path

import pytest

from latentloom.checks import UserError
from latentloom.config import Data
from latentloom.data import image_shape, load
from latentloom.values import ImageSet, Splits


def tree(root: Path, picture, parts: dict[str, int], suffix: str = "png") -> Path:
    """Pictures of cats and dogs: how many of each, by directory."""
    for part, n in parts.items():
        for number, kind in enumerate(("cat", "dog")):
            for i in range(n):
                path = root / part / kind / "more" / f"{Path(part).name}-{i}.{suffix}"
                picture(path, 100 * len(part) + 10 * number + i)
    return root


def folder(path: Path, **more) -> Splits:
    return load(Data(name=f"folder:{path}", validation=0.25, **more), seed=0)


def paths_of(image_set: ImageSet) -> set[str]:
    images, rows = image_set.images, range(len(image_set))
    while not hasattr(images, "paths"):
        rows, images = [int(images.rows[row]) for row in rows], images.images
    return {images.paths[row].name for row in rows}


def test_a_folder_of_classes_is_split_the_same_way_for_every_seed(tmp_path, picture, pixels):
    path = tree(tmp_path, picture, {".": 10})
    splits = folder(path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 4, 4]
    assert splits.test.labels.tolist() == [0, 0, 1, 1]
    assert splits.train.class_names == ("cat", "dog")
    assert len({*pixels(splits.train), *pixels(splits.validation), *pixels(splits.test)}) == 20
    other = load(Data(name=f"folder:{path}", validation=0.25), seed=1)
    assert pixels(other.test) == pixels(splits.test)
    assert pixels(other.validation) != pixels(splits.validation)


@pytest.mark.parametrize(
    ("parts", "training", "test"),
    [
        ({"train": 6, "test": 2}, {"train"}, {"test"}),
        ({"train": 6, "val": 2}, {"train"}, {"val"}),
        ({"train": 6, "val": 2, "test": 2}, {"train", "val"}, {"test"}),
    ],
)
def test_a_folder_with_a_split_keeps_it(tmp_path, picture, parts, training, test):
    splits = folder(tree(tmp_path, picture, parts))
    found = paths_of(splits.train) | paths_of(splits.validation)
    assert {name.split("-")[0] for name in found} == training
    assert {name.split("-")[0] for name in paths_of(splits.test)} == test
    assert len(splits.test) == 4


def test_a_class_may_be_called_train(tmp_path, picture):
    for kind in ("train", "bus"):
        for i in range(8):
            picture(tmp_path / kind / f"{i}.png", i)
    assert folder(tmp_path).train.class_names == ("bus", "train")


def test_size_hidden_files_and_files_that_are_no_images(tmp_path, picture):
    path = tree(tmp_path, picture, {".": 8}, "JPG")
    (path / "cat" / "notes.txt").write_text("no image")
    (path / "cat" / "._0.jpg").write_text("no image")
    (path / ".cache").mkdir()
    splits = folder(path, size=20)
    assert image_shape(splits.train.images) == (3, 20, 20)
    assert image_shape(folder(path).train.images) == (3, 64, 64)
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 16


def test_bad_files_of_a_folder_are_named_or_skipped_with_a_count(tmp_path, picture):
    path = tree(tmp_path, picture, {"train": 8, "test": 4})
    (path / "train/dog/broken.png").write_bytes(b"broken")
    (path / "test/cat/torn.jpeg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UserError, match=r"broken\.png does not decode .*\(1 of 17 files\)"):
        folder(path)
    with pytest.warns(UserWarning, match="left out 1 of") as caught:
        splits = folder(path, skip_bad=True)
    assert [str(w.message).split(" images")[0] for w in caught] == ["left out 1 of 17", "left out 1 of 9"]
    assert len(splits.train) + len(splits.validation) == 16
    assert len(splits.test) == 8


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: path / "nowhere", "no folder .*nowhere"),
        (lambda path: path / "train" / "cat" / "more", "holds no directories"),
        (lambda path: path / "train" / "cat", r"one class \(more\)"),
        (
            lambda path: (path / "train" / "bird").mkdir() or path,
            r"no training image of 1 of 3 classes \(bird",
        ),
        (
            lambda path: (path / "test" / "bird").mkdir() or path,
            r"no training image of 1 of 3 classes \(bird",
        ),
    ],
)
def test_a_folder_that_cannot_be_learned_from_is_refused(tmp_path, picture, spoil, complaint):
    path = spoil(tree(tmp_path, picture, {"train": 3, "test": 2}))
    with pytest.raises(UserError, match=complaint):
        folder(path)


def test_a_test_part_without_images_is_refused(tmp_path, picture):
    path = tree(tmp_path, picture, {"train": 3})
    (path / "test").mkdir()
    with pytest.raises(UserError, match="at least one image, got 0 images"):
        folder(path)


def test_a_test_part_of_bad_files_alone_is_refused(tmp_path, picture):
    path = tree(tmp_path, picture, {"train": 3})
    (path / "test/cat").mkdir(parents=True)
    (path / "test/cat/a.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="left out 1 of 1"),
        pytest.raises(UserError, match="at least one image, got 0 images"),
    ):
        folder(path, skip_bad=True)
