from __future__ import annotations

from dataclasses import replace
from itertools import combinations, islice

import pytest
import torch

from latentloom.checks import UserError
from latentloom.data import Batches, ordered
from latentloom.data.batches import AHEAD, Part, seed_of
from latentloom.values import ImageSet


def noise(n: int = 23, coarse: bool = True) -> ImageSet:
    images = torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(n) % 4
    return ImageSet("noise", images, y, tuple("abcd"), coarse=y // 2 if coarse else None)


def in_files(files) -> ImageSet:
    return ImageSet("files", files, torch.arange(len(files)) % 2, ("a", "b"))


def assert_same(one: list[dict], other: list[dict]) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


def rows_of(batches: list[dict]) -> list[int]:
    return [row for batch in batches for row in batch["row"].tolist()]


def taken(batches: Batches, n: int) -> list[dict]:
    """The next n batches, over the ends of epochs."""
    found: list[dict] = []
    while len(found) < n:
        found += islice(iter(batches), n - len(found))
    return found


def test_a_batch_holds_the_images_and_labels_of_its_rows():
    image_set = noise()
    for batch in Batches(image_set, 5, 0, "cpu"):
        assert batch.keys() == {"x", "y", "row", "coarse"}
        assert torch.equal(batch["x"], image_set.images[batch["row"]])
        assert torch.equal(batch["y"], image_set.labels[batch["row"]])
        assert torch.equal(batch["coarse"], image_set.coarse[batch["row"]])
        assert batch["x"].dtype == torch.uint8
    assert "coarse" not in next(iter(Batches(noise(coarse=False), 5, 0, "cpu")))


def test_an_epoch_holds_each_row_at_most_once_and_drops_what_does_not_fill_a_batch():
    batches = Batches(noise(23), 5, 0, "cpu")
    rows = rows_of(list(batches))
    assert len(batches) == 4
    assert len(rows) == len(set(rows)) == 20
    assert sorted(rows_of(list(Batches(noise(20), 5, 0, "cpu")))) == list(range(20))


@pytest.mark.parametrize("n", [1, 4])
def test_an_epoch_of_a_set_smaller_than_a_batch_is_one_batch_of_all(n):
    batches = Batches(noise(n), 5, 0, "cpu")
    assert len(batches) == 1
    assert sorted(rows_of(list(batches))) == list(range(n))


def test_epochs_and_seeds_differ_in_their_order():
    batches = Batches(noise(), 5, 0, "cpu")
    first, second = rows_of(list(batches)), rows_of(list(batches))
    assert first != second
    assert first != rows_of(list(Batches(noise(), 5, 1, "cpu")))
    assert first == rows_of(list(Batches(noise(), 5, 0, "cpu")))


@pytest.mark.parametrize("kind", ["memory", "files"])
@pytest.mark.parametrize("done", range(10))
def test_a_resumed_loader_goes_on_bit_for_bit(files, kind, done):
    image_set = noise(11) if kind == "memory" else in_files(files)
    whole = taken(Batches(image_set, 3, 0, "cpu", ("crop", "flip")), 10)
    cut = Batches(image_set, 3, 0, "cpu", ("crop", "flip"), workers=2)
    before = taken(cut, done)
    resumed = Batches(image_set, 3, 0, "cpu", ("crop", "flip"), workers=1)
    resumed.load_state_dict(cut.state_dict())
    assert cut.state_dict() == {"step": done}
    assert_same(before + taken(resumed, 10 - done), whole)


def test_the_position_counts_a_batch_when_it_is_given():
    """A consumer that stops at len() never comes back for what follows the last yield."""
    batches = Batches(noise(), 5, 0, "cpu")
    iterator = iter(batches)
    for step in range(len(batches)):
        next(iterator)
        assert batches.state_dict() == {"step": step + 1}
    assert rows_of(list(batches)) == rows_of(taken(Batches(noise(), 5, 0, "cpu"), 8)[4:])


def test_augmentation_changes_with_every_step_and_leaves_the_order_alone():
    plain = taken(Batches(noise(), 5, 0, "cpu"), 8)
    augmented = taken(Batches(noise(), 5, 0, "cpu", ("crop", "flip")), 8)
    assert rows_of(plain) == rows_of(augmented)
    alike = replace(noise(40), images=noise(1).images.expand(40, -1, -1, -1))
    seen = [batch["x"].flatten().tolist() for batch in taken(Batches(alike, 5, 0, "cpu", ("crop",)), 16)]
    assert all(one != other for one, other in combinations(seen, 2))


@pytest.mark.parametrize("workers", [0, 1, 5])
def test_files_come_as_if_they_were_in_memory_however_many_threads_decode(files, workers):
    in_memory = ImageSet(
        "memory", torch.stack([files.decode(r) for r in range(11)]), torch.arange(11) % 2, ("a", "b")
    )
    streamed = Batches(in_files(files), 2, 3, "cpu", ("flip",), workers)
    assert_same(taken(streamed, 12), taken(Batches(in_memory, 2, 3, "cpu", ("flip",)), 12))
    assert_same(
        list(ordered(in_files(files), 4, "cpu", workers)), list(ordered(in_memory, 4, "cpu", workers))
    )


class Counted:
    """Images that count how many were decoded."""

    def __init__(self) -> None:
        self.decoded = 0

    def __len__(self) -> int:
        return 1000

    def decode(self, row: int) -> torch.Tensor:
        self.decoded += 1
        return torch.zeros(3, 1, 1, dtype=torch.uint8)


def test_files_are_decoded_only_a_few_batches_ahead():
    images = Counted()
    iterator = iter(Batches(ImageSet("many", images, torch.zeros(1000).long(), ("a",)), 10, 0, "cpu"))
    next(iterator)
    assert 10 <= images.decoded <= 10 * (AHEAD + 1)
    iterator.close()


def test_a_file_that_went_bad_stops_the_epoch_by_name(files):
    files.paths[6].write_bytes(b"")
    with pytest.raises(UserError, match=r"6\.png does not decode"):
        list(Batches(in_files(files), 11, 0, "cpu", workers=2))


def test_ordered_gives_every_row_once_in_order():
    image_set = noise(23)
    batches = list(ordered(image_set, 5, "cpu"))
    assert rows_of(batches) == list(range(23))
    assert [len(batch["y"]) for batch in batches] == [5, 5, 5, 5, 3]
    assert torch.equal(torch.cat([batch["x"] for batch in batches]), image_set.images)
    assert torch.equal(torch.cat([batch["coarse"] for batch in batches]), image_set.coarse)


def test_a_misspelt_augmentation_gets_a_suggestion():
    with pytest.raises(UserError, match="no augmentation 'flipp'; did you mean 'flip'"):
        Batches(noise(), 5, 0, "cpu", ("flipp",))


@pytest.mark.parametrize(("n", "size"), [(23, 0), (23, -1), (0, 5)])
def test_an_empty_batch_is_refused(n, size):
    with pytest.raises(UserError, match=f"got size {size} of {n} images"):
        Batches(noise(n), size, 0, "cpu")


def test_seeds_of_near_numbers_are_far_apart_and_always_valid():
    seeds = [seed_of(seed, use, step) for seed in (-1, 0, 1) for use in (0, 1) for step in range(50)]
    assert len(set(seeds)) == 300
    for seed in seeds:
        torch.Generator().manual_seed(seed)


# Parts of batches, for processes that train together


@pytest.mark.parametrize("kind", ["memory", "files"])
@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_the_parts_of_processes_are_the_batches_of_one(files, kind, world):
    image_set = noise(11) if kind == "memory" else in_files(files)

    def batches(part):
        return taken(Batches(image_set, 4, 0, "cpu", ("crop", "flip"), part=part), 8)

    parts = [batches(Part(rank, world)) for rank in range(world)]
    for whole, *own in zip(batches(Part()), *parts, strict=True):
        sizes = [len(part["y"]) for part in own]
        assert max(sizes) - min(sizes) <= 1
        assert all(torch.equal(torch.cat([part[key] for part in own]), whole[key]) for key in whole)


def test_ordered_parts_are_the_ordered_batches():
    parts = [list(ordered(noise(23), 5, "cpu", part=Part(rank, 2))) for rank in range(2)]
    for whole, *own in zip(ordered(noise(23), 5, "cpu"), *parts, strict=True):
        assert torch.equal(torch.cat([part["x"] for part in own]), whole["x"])
