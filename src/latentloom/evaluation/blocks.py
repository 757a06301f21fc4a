"""Points that are read some rows at a time, so that no copy of them all is made in float64.

What is read may be a file that is mapped to memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# Numbers that are read at a time; 40 MiB in float64, for of more than 32 MiB glibc gives back what is freed.
BLOCK = 5 * 2**20
LOOKED_AT = 500  # rows whose median the sums of a mean are taken about


def blocks(points: Tensor, y: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """The labelled rows in their order, some at a time: points (m, d) float64, and their classes (m,).

    Without labels all rows, as of class 0. A device without float64 hands over to the CPU.
    """
    return ((exact(some), labels) for some, labels in _as_they_are(points, y))


def all_finite(points: Tensor, y: Tensor | None = None) -> bool:
    """Whether all numbers of the labelled rows are finite."""
    return all(bool(torch.stack(_ends(some)).isfinite().all()) for some, _ in _as_they_are(points, y))


def as_is(points: Tensor) -> Tensor:
    """The points."""
    return points


def class_centres(
    points: Tensor, y: Tensor, of: Callable[[Tensor], Tensor] = as_is
) -> tuple[Tensor, Tensor, Tensor]:
    """The classes present (c,), their means (c, d) float64, and how many labelled points each has (c,).

    Means of what `of` makes of each row.

    >>> class_centres(torch.tensor([[0.0], [2.0], [5.0], [6.0]]), torch.tensor([7, 7, -1, 9]))
    (tensor([7, 9]), tensor([[1.],
            [6.]], dtype=torch.float64), tensor([2, 1]))
    """
    classes, counts = torch.unique(y[y >= 0], return_counts=True)
    # About a mean a constant column may not be 0, for a mean is rounded; about a median it is.
    chosen = (y >= 0).nonzero()[:: max(1, int(counts.sum()) // LOOKED_AT), 0]
    some = of(exact(points[chosen.to(points.device)]))
    origin = some.median(0).values if len(some) else some.sum(0)
    sums = origin.new_zeros(len(classes), points.shape[1])
    for some, labels in blocks(points, y):
        sums.index_add_(0, torch.searchsorted(classes, labels), of(some) - origin)
    return classes, sums / counts[:, None] + origin, counts


def exact(points: Tensor) -> Tensor:
    """The same numbers in float64, on a device that has it."""
    return points.detach().to("cpu" if points.device.type == "mps" else points.device, torch.float64)


def _as_they_are(points: Tensor, y: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
    """The same, in the type that they come in."""
    y = torch.zeros(len(points), dtype=torch.int64, device=points.device) if y is None else y
    step = max(1, BLOCK // max(1, points.shape[1]))
    for some, labels in zip(torch.split(points, step), torch.split(y, step), strict=True):
        kept = labels >= 0
        if kept.all():
            yield some, labels
        elif kept.any():
            yield some[kept.to(some.device)], labels[kept]


def _ends(points: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest number."""
    least, largest = (points.float() if points.dtype.itemsize < 4 else points).aminmax()
    return least, largest
