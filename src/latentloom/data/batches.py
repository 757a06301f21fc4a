"""Batches of images: shuffled and augmented for training, or in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.data.augmentation import AUGMENTATIONS
from latentloom.values import Images, ImageSet

AHEAD = 4  # batches of files that are being decoded while one is used
ORDER, AUGMENT = 0, 1  # what a random draw is for


class Batches:
    """The training images, shuffled anew each epoch, as batches on a device.

    A batch holds "x" uint8 (b, c, h, w), "y" (b,), "row" (b,), the row of each image in the set, and
    "coarse" (b,) where there is one. All batches are whole: what is left of an epoch is dropped, unless
    the set is smaller than a batch. Images in memory are kept on the device, files are decoded in
    `workers` threads a few batches ahead.

    The order of an epoch depends on (seed, epoch) and the augmentation of a batch on (seed, step), so
    the position is one integer, and a loader that has taken it over from another goes on bit for bit.
    """

    def __init__(
        self,
        image_set: ImageSet,
        size: int,
        seed: int,
        device: torch.device | str,
        augment: Sequence[str] = (),
        workers: int = 0,
    ) -> None:
        for name in augment:
            check_choice("augmentation", name, AUGMENTATIONS)
        if size < 1 or not len(image_set):
            raise UserError(
                f"wanted batches of at least one image, got size {size} of {len(image_set)} images"
            )
        images = image_set.images
        resident = images.to(device) if isinstance(images, Tensor) else images
        self.image_set = replace(_labels_on(image_set, device), images=resident)
        self.size, self.seed, self.workers = min(size, len(image_set)), seed, workers
        self.augment = tuple(augment)
        self.step = 0

    def __len__(self) -> int:
        return len(self.image_set) // self.size

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        epoch, first = divmod(self.step, len(self))
        rows = torch.split(self._order(epoch), self.size)[first : len(self)]
        for batch in in_batches(self.image_set, rows, self.workers):
            batch["x"] = augmented(batch["x"], self.augment, self.seed, self.step)
            self.step += 1  # before the yield: a consumer may never ask for what comes after the last batch
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position: batches given since the beginning of the first epoch."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from another loader's position."""
        self.step = state["step"]

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(self.seed, ORDER, epoch))
        return torch.randperm(len(self.image_set), generator=generator)


def ordered(
    image_set: ImageSet, size: int, device: torch.device | str, workers: int = 2
) -> Iterator[dict[str, Tensor]]:
    """Every image once, in the order of the rows, in batches like those of `Batches`; the last is smaller."""
    rows = torch.split(torch.arange(len(image_set)), size)
    return in_batches(_labels_on(image_set, device), rows, workers)


def augmented(x: Tensor, names: Sequence[str], seed: int, *numbers: int) -> Tensor:
    """Images (b, c, h, w) after these augmentations, by draws that are a function of the numbers."""
    generator = torch.Generator().manual_seed(seed_of(seed, AUGMENT, *numbers))
    for name in names:
        x = AUGMENTATIONS[name](x, generator)
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


def in_batches(image_set: ImageSet, rows: Sequence[Tensor], workers: int) -> Iterator[dict[str, Tensor]]:
    """A batch for each of these (b,) rows, on the device of the labels."""
    device, images = image_set.labels.device, image_set.images
    pixels = _selected(images, rows) if isinstance(images, Tensor) else _decoded(images, rows, workers)
    for row, x in zip(rows, pixels, strict=True):
        here = row.to(device)
        batch = {"x": x.to(device), "y": image_set.labels[here], "row": here}
        yield batch if image_set.coarse is None else {**batch, "coarse": image_set.coarse[here]}


def _selected(images: Tensor, rows: Sequence[Tensor]) -> Iterator[Tensor]:
    return (images.index_select(0, row.to(images.device)) for row in rows)


def _decoded(images: Images, rows: Sequence[Tensor], workers: int) -> Iterator[Tensor]:
    """uint8 (b, c, h, w) for each of these rows, in their order, however many threads decode."""
    pool = ThreadPoolExecutor(max(workers, 1))
    waiting: deque[list[Future[Tensor]]] = deque()
    try:
        for row in rows:
            waiting.append([pool.submit(images.decode, one) for one in row.tolist()])
            if len(waiting) > AHEAD:
                yield _stacked(waiting.popleft())
        while waiting:
            yield _stacked(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _stacked(futures: list[Future[Tensor]]) -> Tensor:
    return torch.stack([future.result() for future in futures])
