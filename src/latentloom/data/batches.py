"""Batches of images: shuffled and augmented for training, or in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.data.augmentation import AUGMENTATIONS, Place
from latentloom.data.transfer import fits, path_of, sent
from latentloom.values import Images, ImageSet

AHEAD = 4  # batches of files that are being decoded while one is used
ORDER, AUGMENT = 0, 1  # what a random draw is for


@dataclass(frozen=True)
class Part:
    """Which process this is, of those that share every batch; rows go to them in turn of their number."""

    rank: int = 0
    world: int = 1

    def of(self, n: int) -> slice:
        """The rows of this process in a batch of n; of two processes the numbers differ by one at most.

        >>> [Part(rank, 3).of(7) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
        """
        return slice(n * self.rank // self.world, n * (self.rank + 1) // self.world)


WHOLE = Part()


class Order(Protocol):
    """The rows of the batches of an epoch."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def __call__(self, epoch: int) -> Tensor:
        """Rows of each batch, (batches, size)."""
        ...


@dataclass(frozen=True)
class Shuffled:
    """Every row once in an epoch, in an order of its own; what is left over fills no batch and is dropped."""

    rows: int
    size: int
    seed: int

    def __len__(self) -> int:
        return self.rows // self.size

    def __call__(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(self.seed, ORDER, epoch))
        order = torch.randperm(self.rows, generator=generator)
        return order[: len(self) * self.size].view(-1, self.size)


class Batches:
    """The training images, shuffled anew each epoch, as batches on a device.

    A batch holds "x" uint8 (b, c, h, w), "y" (b,), "row" (b,), the row of each image in the set, and
    "coarse" (b,) where there is one. All batches are whole: what is left of an epoch is dropped, unless
    the set is smaller than a batch. Images in memory are kept on the device as long as they leave half of
    what is free on a GPU, else they are sent there batch by batch; files are decoded in `workers` threads a
    few batches ahead. `path` says in words which it is. Nothing that is sent makes the processor wait.

    The order of an epoch depends on (seed, epoch) and the augmentation of a batch on (seed, step), so
    the position is one integer, and a loader that has taken it over from another goes on bit for bit.

    Of several processes each has a part of every batch, and the parts together are what one process would
    have, bit for bit.

    Args:
        image_set: the training images.
        size: images in a batch, of all processes.
        seed: of order and augmentation.
        device: where batches are wanted.
        augment: names of augmentations, in their order.
        workers: threads that decode.
        order: which rows a batch has, each of `size`; `Shuffled` unless given.
        part: which rows of a batch are given here.
    """

    def __init__(
        self,
        image_set: ImageSet,
        size: int,
        seed: int,
        device: torch.device | str,
        augment: Sequence[str] = (),
        workers: int = 0,
        order: Order | None = None,
        part: Part = WHOLE,
    ) -> None:
        for name in augment:
            check_choice("augmentation", name, AUGMENTATIONS)
        if size < 1 or not len(image_set):
            raise UserError(
                f"wanted batches of at least one image, got size {size} of {len(image_set)} images"
            )
        images = image_set.images
        self.path = path_of(images, device, workers)
        resident = isinstance(images, Tensor) and fits(images, device)
        kept = images.to(device) if resident else images  # type: ignore[union-attr]
        self.image_set = replace(_labels_on(image_set, device), images=kept)
        self.size, self.seed, self.workers = size if order else min(size, len(image_set)), seed, workers
        self.augment = tuple(augment)
        self.order = order or Shuffled(len(image_set), self.size, seed)
        self.part = part
        self.step = 0

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        epoch, first = divmod(self.step, len(self))
        here = self.part.of(self.size)
        for batch in in_batches(self.image_set, self.order(epoch)[first:, here], self.workers):
            place = Place(self.size, here)
            batch["x"] = augmented(batch["x"], self.augment, place, self.seed, self.step)
            self.step += 1  # before the yield: a consumer may never ask for what comes after the last batch
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position: batches given since the beginning of the first epoch."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from another loader's position."""
        self.step = state["step"]


def ordered(
    image_set: ImageSet, size: int, device: torch.device | str, workers: int = 2, part: Part = WHOLE
) -> Iterator[dict[str, Tensor]]:
    """Every image once, in the order of the rows, in batches like those of `Batches`; the last is smaller."""
    rows = [batch[part.of(len(batch))] for batch in torch.split(torch.arange(len(image_set)), size)]
    return in_batches(_labels_on(image_set, device), rows, workers)


def augmented(x: Tensor, names: Sequence[str], place: Place, seed: int, *numbers: int) -> Tensor:
    """Images (b, c, h, w) after these augmentations, by draws that are a function of place and numbers."""
    generator = torch.Generator().manual_seed(seed_of(seed, AUGMENT, *numbers))
    for name in names:
        x = AUGMENTATIONS[name](x, generator, place)
    return x


def seed_of(*numbers: int) -> int:
    """One 64-bit seed out of several numbers; near numbers give seeds that have nothing in common."""
    return int(np.random.SeedSequence([n % 2**64 for n in numbers]).generate_state(1, np.uint64)[0])


def _labels_on(image_set: ImageSet, device: torch.device | str) -> ImageSet:
    coarse = image_set.coarse
    return replace(
        image_set,
        labels=image_set.labels.to(device),
        coarse=None if coarse is None else coarse.to(device),
    )


def in_batches(
    image_set: ImageSet, rows: Tensor | Sequence[Tensor], workers: int
) -> Iterator[dict[str, Tensor]]:
    """A batch for each of these (b,) rows, on the device of the labels."""
    device, images = image_set.labels.device, image_set.images
    there = sent(rows, device) if isinstance(rows, Tensor) else [sent(row, device) for row in rows]
    if isinstance(images, Tensor):
        pixels = _selected(images, there if images.device == device else rows)
    else:
        pixels = _decoded(images, rows, workers)
    for row, x in zip(there, pixels, strict=True):
        batch = {"x": sent(x, device), "y": image_set.labels[row], "row": row}
        yield batch if image_set.coarse is None else {**batch, "coarse": image_set.coarse[row]}


def _selected(images: Tensor, rows: Iterable[Tensor]) -> Iterator[Tensor]:
    return (images.index_select(0, row) for row in rows)


def _decoded(images: Images, rows: Iterable[Tensor], workers: int) -> Iterator[Tensor]:
    """uint8 (b, c, h, w) for each of these rows, in their order, however many threads decode."""
    pool = ThreadPoolExecutor(max(workers, 1))
    waiting: deque[list[Future[Tensor]]] = deque()
    try:
        for row in rows:
            waiting.append([pool.submit(images.decode, one) for one in row.tolist()])
            if len(waiting) > AHEAD:
                yield _stacked(waiting.popleft(), images)
        while waiting:
            yield _stacked(waiting.popleft(), images)
    finally:
        pool.shutdown(cancel_futures=True)


def _stacked(futures: list[Future[Tensor]], images: Images) -> Tensor:
    if not futures:  # the part of a process in a batch with fewer rows than processes
        return images.decode(0)[None][:0]
    return torch.stack([future.result() for future in futures])
