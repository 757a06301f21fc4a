from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentloom.checks import UserError
from latentloom.data.files import ImageFiles
from latentloom.data.splits import (
    check_classes,
    check_part,
    limit,
    split_test,
    split_validation,
    stratified_order,
    subset,
    without_bad,
)
from latentloom.values import ImageSet


def numbered(labels: list[int], names: str = "abc") -> ImageSet:
    """Images whose pixels tell their row."""
    y = torch.tensor(labels, dtype=torch.long)
    images = torch.arange(len(y), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    return ImageSet("numbered", images, y, tuple(names), coarse=y // 2, coarse_names=("x", "y"))


def rows_of(image_set: ImageSet) -> list[int]:
    return [int(image_set.images[row, 0, 0, 0]) for row in range(len(image_set))]


UNEVEN = [0] * 60 + [1] * 30 + [2] * 10


def test_a_subset_takes_everything_along():
    part = subset(numbered([0, 1, 2, 3], "abcd"), torch.tensor([3, 1]))
    assert rows_of(part) == [3, 1]
    assert part.labels.tolist() == [3, 1]
    assert part.coarse.tolist() == [1, 0]
    assert part.class_names == tuple("abcd")


def test_a_subset_of_a_subset_of_files_decodes_the_right_file(files):
    whole = ImageSet("files", files, torch.arange(11) % 2, ("a", "b"))
    part = subset(subset(whole, torch.tensor([7, 2, 9])), torch.tensor([2, 0]))
    assert len(part.images) == len(part) == 2
    assert part.coarse is None
    assert torch.equal(part.images.decode(0), files.decode(9))
    assert torch.equal(part.images.decode(1), files.decode(7))


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=60), st.integers(0, 9))
def test_every_beginning_of_the_order_is_stratified(labels, seed):
    order = stratified_order(torch.tensor(labels), seed).tolist()
    assert sorted(order) == list(range(len(labels)))
    whole, seen = Counter(labels), Counter()
    for length, row in enumerate(order, start=1):
        seen[labels[row]] += 1
        assert len(seen) == min(length, len(whole))
        for label in whole:
            assert seen[label] <= length * whole[label] / len(labels) + 1 + 1e-9


def test_the_order_is_random_within_and_across_classes():
    labels = torch.tensor([0, 1] * 20)
    orders = [stratified_order(labels, seed) for seed in range(20)]
    assert torch.equal(stratified_order(labels, 3), orders[3])
    assert len({order[0].item() for order in orders}) > 5
    assert {labels[order[0]].item() for order in orders} == {0, 1}
    assert {(order[0] < order[1]).item() for order in orders} == {True, False}


@pytest.mark.parametrize("split", [lambda s: split_validation(s, 0.1, 5), split_test])
def test_splits_share_no_image_and_lose_none(split):
    kept, held_out = split(numbered(UNEVEN))
    assert sorted(rows_of(kept) + rows_of(held_out)) == list(range(100))
    assert [UNEVEN[row] for row in rows_of(held_out)] == held_out.labels.tolist()


def test_validation_is_stratified_and_follows_the_seed():
    whole = numbered(UNEVEN)
    _, validation = split_validation(whole, 0.1, 0)
    assert validation.labels.bincount().tolist() == [6, 3, 1]
    assert rows_of(validation) == rows_of(split_validation(whole, 0.1, 0)[1])
    assert rows_of(validation) != rows_of(split_validation(whole, 0.1, 1)[1])


def test_a_fifth_is_for_testing():
    assert split_test(numbered(UNEVEN))[1].labels.bincount().tolist() == [12, 6, 2]


def test_a_lone_image_of_a_class_and_unlabelled_images_stay_in_training():
    train, validation = split_validation(numbered([0] * 10 + [1] * 10 + [2] + [-1] * 20), 0.5, 0)
    assert 2 not in validation.labels
    assert -1 not in validation.labels
    assert (train.labels == -1).sum() == 20
    assert len(validation) == round(0.5 * 21)


@pytest.mark.parametrize("share", [0.0, 0.004, 0.98, 1.0, -0.1, 1.5])
def test_a_share_that_leaves_nothing_is_refused(share):
    with pytest.raises(UserError, match=r"numbered: a share of .* of 100 labelled images of 3 classes"):
        split_validation(numbered(UNEVEN), share, 0)


def test_a_limit_is_stratified_and_keeps_every_class():
    whole = numbered(UNEVEN)
    part = limit(whole, 20, 0)
    assert len(part) == 20
    assert part.labels.bincount().tolist() == [12, 6, 2]
    assert rows_of(part) == sorted(rows_of(limit(whole, 20, 0)))
    assert rows_of(part) != rows_of(limit(whole, 20, 1))
    assert limit(whole, 4, 0).labels.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("n", [None, 100, 1000])
def test_no_limit_and_a_generous_one_keep_all(n):
    whole = numbered(UNEVEN)
    assert limit(whole, n, 0) is whole


@pytest.mark.parametrize("n", [3, 0, -1])
def test_a_limit_that_leaves_no_image_to_spare_is_refused(n):
    with pytest.raises(UserError, match=f"a limit of {n} images for 3 classes"):
        limit(numbered(UNEVEN), n, 0)


def with_bad_files(tmp_path, files: ImageFiles) -> ImageSet:
    for row in (4, 9):
        files.paths[row].write_bytes(b"not an image")
    return ImageSet("files", files, torch.arange(11) % 2, ("a", "b"))


def test_bad_files_are_left_out_and_counted(tmp_path, files):
    whole = with_bad_files(tmp_path, files)
    with pytest.warns(UserWarning, match=r"left out 2 of 11 images, the first because .*4\.png does not"):
        part = without_bad(whole, skip=True, workers=2)
    kept = [row for row in range(11) if row not in (4, 9)]
    assert part.labels.tolist() == [row % 2 for row in kept]
    assert torch.equal(part.images.decode(4), files.decode(5))


def test_bad_files_are_an_error_unless_skipped(tmp_path, files):
    with pytest.raises(UserError, match=r"4\.png does not decode .*\(2 of 11 files\)"):
        without_bad(with_bad_files(tmp_path, files), skip=False, workers=2)


def test_good_files_and_tensors_pass_untouched(files):
    whole = ImageSet("files", files, torch.arange(11) % 2, ("a", "b"))
    assert without_bad(whole, skip=True, workers=2) is whole
    in_memory = numbered(UNEVEN)
    assert without_bad(in_memory, skip=True, workers=2) is in_memory


GOOD = numbered([0, 1, 2, -1])


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (replace(GOOD, images=GOOD.images.float()), r"uint8 \(n, c, h, w\), got torch.float32"),
        (replace(GOOD, images=GOOD.images[:, 0]), r"got torch.uint8 \(4, 2, 2\)"),
        (replace(GOOD, labels=GOOD.labels[:3]), r"got 4 images and labels \(3,\)"),
        (replace(GOOD, images=GOOD.images[:0], labels=GOOD.labels[:0]), "at least one image, got 0 images"),
        (replace(GOOD, labels=torch.tensor([0, 1, 3, 1])), "image 2 has label 3, wanted 0 to 2"),
        (replace(GOOD, labels=torch.tensor([0, -2, 1, 1])), "image 1 has label -2, wanted 0 to 2, or -1"),
    ],
)
def test_a_part_of_another_form_is_refused(bad, complaint):
    check_part(GOOD)
    with pytest.raises(UserError, match=complaint):
        check_part(bad)


def test_one_class_is_refused():
    with pytest.raises(UserError, match=r"one class \(a\); a classifier needs at least two classes"):
        check_classes(numbered([0, 0, 0], "a"))


def test_a_class_without_training_images_is_named():
    check_classes(GOOD)
    with pytest.raises(UserError, match=r"no training image of 2 of 3 classes \(a, c\)"):
        check_classes(numbered([1, 1, -1]))
