"""P classes, Q images of each, in every batch; each image about equally often; resumable, in parts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from latentloom.checks import UserError
from latentloom.config import Data, Train
from latentloom.data import Batches
from latentloom.data.balanced import Balanced, balanced, turns
from latentloom.data.batches import Part
from latentloom.objective import Objective
from latentloom.training.run import batches_for
from latentloom.values import ImageSet

UNEQUAL = (40, 33, 20, 20, 9, 5, 3, 1)


def labels(*sizes: int, unlabelled: int = 0) -> Tensor:
    """Classes of these sizes, mixed."""
    y = torch.cat(
        [*(torch.full((size,), label) for label, size in enumerate(sizes)), -torch.ones(unlabelled)]
    )
    return y.long()[torch.randperm(len(y), generator=Generator().manual_seed(0))]


def rows_in(order: Balanced, epochs: int) -> Tensor:
    return torch.cat([order(epoch) for epoch in range(epochs)])


@pytest.mark.parametrize("sizes", [(30,) * 6, UNEQUAL, (2,) * 5, (100, 1, 1, 1)])
@pytest.mark.parametrize("each", [1, 2, 3])
def test_every_batch_holds_different_classes_with_as_many_images_of_each(
    sizes: tuple[int, ...], each: int
) -> None:
    y = labels(*sizes, unlabelled=7)
    order = balanced(y, 4 * each, each, seed=0)
    assert len(order) == max(1, sum(sizes) // (4 * each))
    rows = rows_in(order, 5)
    assert rows.shape == (5 * len(order), 4 * each)
    for batch in rows:
        assert sorted(Counter(y[batch].tolist()).values()) == [each] * 4
        assert (y[batch] >= 0).all()


def test_an_epoch_of_equal_classes_holds_every_image_once() -> None:
    y = labels(*[24] * 6)
    order = balanced(y, 12, 4, seed=0)
    for epoch in range(3):
        assert sorted(order(epoch).flatten().tolist()) == list(range(len(y)))
    assert not torch.equal(order(0), order(1))


def test_each_image_comes_about_equally_often_however_unequal_the_classes() -> None:
    y, epochs = labels(*UNEQUAL), 300
    order = balanced(y, 6, 2, seed=0)
    given = rows_in(order, epochs)
    often = given.flatten().bincount(minlength=len(y)) / epochs
    expected = order.size * len(order) / len(y)  # all but what fills no batch
    assert (often - expected).abs().max() < 0.15
    assert 0.9 < expected <= 1
    # What drawing classes alike would do to images of the smallest.
    alike = order.size * len(order) / len(UNEQUAL) / min(UNEQUAL)
    assert alike > 10 * expected
    for label in range(len(UNEQUAL)):  # within a class no image a second time before all came once
        for epoch in range(20):
            times = order(epoch).flatten().bincount(minlength=len(y))[y == label]
            assert times.max() - times.min() <= 1


def test_a_class_that_holds_most_images_is_in_every_batch() -> None:
    y = labels(100, 20, 20, 20)
    order = balanced(y, 8, 4, seed=0)
    assert ((y[order(0)] == 0).sum(1) == 4).all()


def test_kinds_have_their_turns_and_meet_all_others() -> None:
    weight = torch.tensor([5.0, 1, 2, 2, 4, 2]).double()
    found = [turns(weight, 3, 16, Generator().manual_seed(seed)) for seed in range(100)]
    counts = torch.stack([each.flatten().bincount(minlength=6) for each in found])
    assert (counts - weight * 3).abs().max() <= 1
    assert (counts.double().mean(0) - weight * 3).abs().max() < 0.05
    met = {frozenset(batch.tolist()) for each in found for batch in each}
    assert len(met) == 20  # all choices of three out of six


# Groups


def test_classes_of_a_batch_are_of_as_many_groups_as_asked_for() -> None:
    y = labels(*[12] * 12)
    coarse = y // 3  # four groups of three
    order = balanced(y, 12, 3, seed=0, coarse=coarse, groups=2)
    seen = set()
    for batch in rows_in(order, 6):
        classes = sorted(set(y[batch].tolist()))
        seen.add(tuple(classes))
        assert len(classes) == 4
        assert sorted(Counter(label // 3 for label in classes).values()) == [2, 2]
    assert len(seen) > 20
    assert sorted(order(0).flatten().tolist()) == list(range(len(y)))


# Position, parts, and what cannot be


def image_set(*sizes: int, **fields: Any) -> ImageSet:
    y = labels(*sizes)
    images = torch.randint(256, (len(y), 1, 8, 8), generator=Generator().manual_seed(1)).to(torch.uint8)
    return ImageSet("noise", images, y, tuple("abcdefgh"), **fields)


def loader(part: Part | None = None) -> Batches:
    images = image_set(*UNEQUAL)
    order = balanced(images.labels, 10, 2, seed=3)
    return Batches(images, 10, 3, "cpu", ("crop", "flip"), order=order, part=part or Part())


def taken(batches: Batches, n: int) -> list[dict[str, Tensor]]:
    found: list[dict[str, Tensor]] = []
    while len(found) < n:
        found += islice(iter(batches), n - len(found))
    return found


@pytest.mark.parametrize("done", [0, 5, 13, 20])
def test_a_resumed_loader_goes_on_bit_for_bit(done: int) -> None:
    cut, resumed = loader(), loader()
    before = taken(cut, done)
    resumed.load_state_dict(cut.state_dict())
    found = before + taken(resumed, 30 - done)
    for one, other in zip(found, taken(loader(), 30), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("world", [2, 3, 11])
def test_the_parts_of_processes_are_the_batches_of_one(world: int) -> None:
    parts = [taken(loader(Part(rank, world)), 20) for rank in range(world)]
    for whole, *own in zip(taken(loader(), 20), *parts, strict=True):
        assert all(torch.equal(torch.cat([p[key] for p in own]), whole[key]) for key in whole)


@pytest.mark.parametrize(
    ("size", "each", "most"), [(10, 3, 24), (18, 2, 16), (1, 2, 16), (4, 0, 8), (0, 1, 8)]
)
def test_a_batch_of_other_than_whole_classes_is_refused(size: int, each: int, most: int) -> None:
    with pytest.raises(UserError, match=f"of {each} images .* got a batch of {size}; .* at most {most}"):
        balanced(labels(*UNEQUAL), size, each, seed=0)


@pytest.mark.parametrize("groups", [0, 3, 8])
def test_groups_that_do_not_divide_the_classes_are_refused(groups: int) -> None:
    y = labels(*[4] * 8)
    with pytest.raises(UserError, match=f"wanted 4 classes of {groups} of 4 groups, the smallest of 2"):
        balanced(y, 8, 2, seed=0, coarse=y // 2, groups=groups)
    with pytest.raises(UserError, match=r"the data have none; set --data\.coarse"):
        balanced(y, 8, 2, seed=0, groups=2)


def batches_of(data: Data, images: ImageSet) -> Any:
    return batches_for(Train(data=data), images, Objective({"supcon": 1.0}), torch.device("cpu"))


def test_a_configuration_asks_for_balanced_batches() -> None:
    images = image_set(*[8] * 8)
    coarse = replace(images, coarse=images.labels // 2, coarse_names=tuple("ABCD"))
    (batch, *_) = batches_of(Data(batch=8, balanced=2, balanced_groups=2), coarse)
    assert sorted(Counter(batch["y"].tolist()).values()) == [2] * 4
    assert len(set(batch["coarse"].tolist())) == 2
    for data in (Data(batch=8, balanced=2, labels=0.5), Data(batch=8, balanced=2, labelled_batch=4)):
        with pytest.raises(UserError, match="class-balanced as they are"):
            batches_of(data, images)
