"""Two streams of training batches: all images, and beside them labelled ones, balanced over the classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from latentloom.data.augmentation import Place
from latentloom.data.batches import Batches, augmented, in_batches
from latentloom.data.labels import balanced_rows, class_rows


class TwoStreams:
    """The batches of another loader, each with a batch of labelled rows as "labelled".

    An epoch is one of the other loader; labelled rows are taken again and again, see `balanced_rows`. Both
    streams are functions of its seed and step, so that there is no position but its own. Of labelled rows too
    each process has its part.

    Args:
        batches: of all images.
        size: labelled rows in a step, of all processes.
    """

    def __init__(self, batches: Batches, size: int) -> None:
        self.batches = batches
        self.size = size
        self.path = batches.path
        self.relabel(batches.image_set.labels)

    def relabel(self, y: Tensor) -> None:
        """Take the labelled rows by these labels, (n,), -1 for none, from the next epoch on.

        What the other loader gives stays as it is.
        """
        given = self.batches.image_set
        self.taught = replace(given, labels=y.to(given.labels))
        self.by_class = class_rows(y)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        every, first = self.batches, self.batches.step
        steps = range(first, first + len(self) - first % len(self))
        rows = [balanced_rows(self.by_class, self.size, seed=every.seed, step=step) for step in steps]
        place = Place(self.size, every.part.of(self.size))
        labelled = in_batches(self.taught, [row[place.here] for row in rows], every.workers)
        for step, batch, taught in zip(steps, every, labelled, strict=True):
            taught["x"] = augmented(taught["x"], every.augment, place, every.seed, step, 1)
            yield {**batch, "labelled": taught}

    def state_dict(self) -> dict[str, int]:
        """The position, as `Batches` keeps it."""
        return self.batches.state_dict()

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from another loader's position."""
        self.batches.load_state_dict(state)
