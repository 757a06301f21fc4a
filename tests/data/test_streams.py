"""All images as ever, and beside each batch of them labelled ones that do not depend on where a run began."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.data import Batches, TwoStreams, balanced_rows, class_rows
from latentloom.data.batches import Part
from latentloom.values import ImageSet

SEED, SIZE, LABELLED = 3, 4, 6
Rows = list[dict[str, Any]]


def partly_labelled(n: int = 23) -> ImageSet:
    """Classes of very unequal size, a third of the rows unlabelled, no two images alike."""
    images = torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    row = torch.arange(n)
    y = torch.where(row % 3 == 0, -1, torch.where(row < 18, 0, 1 + row % 2))
    return ImageSet("noise", images, y, tuple("abc"), coarse=torch.where(y < 0, -1, y // 2))


def streams(image_set: ImageSet | None = None, size: int = LABELLED, **fields: Any) -> TwoStreams:
    return TwoStreams(batches(image_set, **fields), size)


def batches(image_set: ImageSet | None = None, **fields: Any) -> Batches:
    whole = partly_labelled() if image_set is None else image_set
    return Batches(whole, **{"size": SIZE, "seed": SEED, "device": "cpu", **fields})


def taken(loader: Batches | TwoStreams, n: int) -> Rows:
    """The next n batches, over the ends of epochs."""
    found: Rows = []
    while len(found) < n:
        found += islice(iter(loader), n - len(found))
    return found


def parted(found: Rows) -> tuple[Rows, Rows]:
    """Each stream for itself."""
    return [{k: v for k, v in b.items() if k != "labelled"} for b in found], [b["labelled"] for b in found]


def assert_same(one: Rows, other: Rows) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def rows_of(found: Rows) -> list[int]:
    return [row for batch in found for row in batch["row"].tolist()]


def in_files(files: Any) -> ImageSet:
    return ImageSet("files", files, torch.tensor([0, -1, 1, 1, -1, 0, 0, 1, -1, -1, 0]), ("a", "b"))


# The first stream


@pytest.mark.parametrize("augment", [(), ("crop", "flip")])
@pytest.mark.parametrize("size", [1, LABELLED, 50])
def test_all_images_come_bit_for_bit_as_without_the_second_stream(
    size: int, augment: tuple[str, ...]
) -> None:
    first, _ = parted(taken(streams(size=size, augment=augment), 12))
    assert_same(first, taken(batches(augment=augment), 12))
    for mistake in ({"seed": SEED + 1}, {"augment": ("flip",)}, {"size": SIZE + 1}):
        with pytest.raises(AssertionError):
            assert_same(first, taken(batches(**{"augment": augment, **mistake}), 12))


def test_an_epoch_is_one_of_all_images() -> None:
    loader = streams()
    assert len(loader) == len(batches()) == 5
    assert [len(list(loader)) for _ in range(3)] == [5, 5, 5]
    assert len(streams(partly_labelled(3))) == 1


# The second stream


def test_the_labelled_batch_holds_labelled_rows_alone_as_they_are_in_the_set() -> None:
    image_set = partly_labelled()
    all_images, labelled = parted(taken(streams(), 10))
    assert any((batch["y"] < 0).any() for batch in all_images)
    for batch in labelled:
        assert batch.keys() == {"x", "y", "row", "coarse"}
        assert batch["x"].dtype == torch.uint8
        assert len(batch["x"]) == len(batch["y"]) == LABELLED
        assert (batch["y"] >= 0).all()
        assert torch.equal(batch["x"], image_set.images[batch["row"]])
        assert torch.equal(batch["y"], image_set.labels[batch["row"]])
        assert torch.equal(batch["coarse"], image_set.coarse[batch["row"]])


def assert_balanced(labels: list[Tensor]) -> None:
    """No two classes differ by more than four, in a batch and over all of them."""
    for y in (*labels, torch.cat(labels)):
        counts = Counter(y.tolist())
        assert max(counts.values()) - min(counts[label] for label in range(3)) <= 4


@pytest.mark.parametrize("size", [2, LABELLED, 12])
def test_labelled_batches_are_balanced_however_unequal_the_classes_are(size: int) -> None:
    _, labelled = parted(taken(streams(size=size), 40))
    assert_balanced([batch["y"] for batch in labelled])
    assert all(max(Counter(batch["y"].tolist()).values()) >= 2 for batch in labelled)
    y = partly_labelled().labels
    draws = (y >= 0).nonzero()[:, 0][torch.arange(40 * size) % int((y >= 0).sum())]
    with pytest.raises(AssertionError):
        assert_balanced(list(torch.split(y[draws], size)))


def test_labelled_rows_are_a_function_of_seed_and_step() -> None:
    by_class = class_rows(partly_labelled().labels)
    _, labelled = parted(taken(streams(), 12))
    wanted = [balanced_rows(by_class, LABELLED, seed=SEED, step=step).tolist() for step in range(12)]
    assert [batch["row"].tolist() for batch in labelled] == wanted
    assert rows_of(labelled) != rows_of(parted(taken(streams(seed=SEED + 1), 12))[1])


def test_a_second_epoch_gives_other_labelled_rows_until_every_one_was_had() -> None:
    loader = streams()
    epochs = [rows_of(parted(list(loader))[1]) for _ in range(3)]
    assert len({tuple(rows) for rows in epochs}) == 3
    had = set().union(*epochs)
    assert set(epochs[0]) < had
    assert had == set((partly_labelled().labels >= 0).nonzero()[:, 0].tolist())


def test_one_label_is_given_again_and_again() -> None:
    alone = replace(partly_labelled(), labels=torch.tensor([*[-1] * 7, 2, *[-1] * 15]))
    _, labelled = parted(taken(streams(alone), 6))
    assert rows_of(labelled) == [7] * 6 * LABELLED


# Augmentation


@pytest.fixture
def alike() -> ImageSet:
    """The same image in every row, so that what differs comes of augmentation alone."""
    image_set = partly_labelled()
    return replace(image_set, images=image_set.images[:1].expand(23, -1, -1, -1))


def test_labelled_images_are_augmented_by_draws_of_their_own(alike: ImageSet) -> None:
    all_images, labelled = parted(taken(streams(alike, SIZE, augment=("crop",)), 12))
    pairs = zip(all_images, labelled, strict=True)
    assert not any(torch.equal(one["x"], other["x"]) for one, other in pairs)
    assert len({tuple(batch["x"].flatten().tolist()) for batch in labelled}) == 12
    assert_same(labelled, parted(taken(streams(alike, SIZE, augment=("crop",)), 12))[1])
    plain, taught = parted(taken(streams(alike, SIZE), 12))
    assert all(torch.equal(one["x"], other["x"]) for one, other in zip(plain, taught, strict=True))


def test_augmentation_leaves_the_choice_of_rows_alone() -> None:
    plain, augmented = (parted(taken(streams(augment=names), 8))[1] for names in ((), ("crop", "flip")))
    assert rows_of(plain) == rows_of(augmented)
    assert any(not torch.equal(a["x"], b["x"]) for a, b in zip(plain, augmented, strict=True))


# The position


@pytest.mark.parametrize("kind", ["memory", "files"])
@pytest.mark.parametrize("done", range(10))
def test_a_resumed_loader_goes_on_bit_for_bit(files: Any, kind: str, done: int) -> None:
    image_set = partly_labelled(14) if kind == "memory" else in_files(files)  # three steps an epoch
    fields: dict[str, Any] = {"size": SIZE if kind == "memory" else 3, "augment": ("crop", "flip")}

    def loader(workers: int) -> TwoStreams:
        return TwoStreams(batches(image_set, workers=workers, **fields), LABELLED)

    cut, resumed = loader(2), loader(1)
    before = taken(cut, done)
    assert cut.state_dict() == {"step": done}
    resumed.load_state_dict(cut.state_dict())
    (ours, ours_labelled) = parted(before + taken(resumed, 10 - done))
    (whole, whole_labelled) = parted(taken(loader(0), 10))
    assert_same(ours, whole)
    assert_same(ours_labelled, whole_labelled)
    if done % 3:  # back to the beginning of the epoch
        resumed.load_state_dict({"step": done - done % 3})
        with pytest.raises(AssertionError):
            assert_same(parted(taken(resumed, 10 - done))[1], whole_labelled[done:])


def test_the_position_counts_a_batch_when_it_is_given() -> None:
    """A consumer that stops at len() never comes back for what follows the last yield."""
    loader = streams()
    iterator = iter(loader)
    for step in range(len(loader)):
        next(iterator)
        assert loader.state_dict() == {"step": step + 1}
    assert_same(parted(list(loader))[1], parted(taken(streams(), 10))[1][5:])


# What cannot be


@pytest.mark.parametrize(("labels", "size"), [(-1, LABELLED), (0, 0)])
def test_no_label_or_no_room_for_one(labels: int, size: int) -> None:
    image_set = replace(partly_labelled(), labels=torch.full((23,), labels))
    with pytest.raises(
        UserError, match=f"at least one labelled row, got size {size} of {1 + labels} classes"
    ):
        next(iter(streams(image_set, size)))


# Parts of batches, for processes that train together


@pytest.mark.parametrize("world", [2, 3, 8])
def test_the_parts_of_processes_are_both_streams_of_one(world: int) -> None:
    fields: dict[str, Any] = {"augment": ("crop", "flip")}
    ranks = [parted(taken(streams(part=Part(rank, world), **fields), 8)) for rank in range(world)]
    for which, whole in enumerate(parted(taken(streams(**fields), 8))):
        for batch, *own in zip(whole, *(rank[which] for rank in ranks), strict=True):
            assert all(torch.equal(torch.cat([part[key] for part in own]), batch[key]) for key in batch)
