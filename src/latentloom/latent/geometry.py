"""Distances and means, with a gradient that is right at the bad points."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Metric = Literal["euclidean", "cosine"]


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances between the rows of a (n, d) and of b (m, d): (n, m), >= 0.

    >>> squared_distances(torch.tensor([[0., 0.]]), torch.tensor([[3., 4.], [0., 1.]]))
    tensor([[25.,  1.]])
    """
    # |a|^2 - 2ab + |b|^2 loses digits when points lie far from the origin, so the origin goes to them.
    origin = a.detach().mean(0)
    a, b = a - origin, b - origin
    squared = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * (a @ b.mT)
    return squared.clamp_min(0)


def nearness(z: Tensor, reference: Tensor, metric: Metric) -> Tensor:
    """How near the rows of z (n, d) are to points (C, d): -|z - c|^2, or the cosine of z and c, (n, C).

    >>> nearness(torch.tensor([[3., 4.]]), torch.tensor([[0., 0.], [3., 0.]]), "euclidean")
    tensor([[-25., -16.]])
    """
    if metric == "cosine":
        return unit(z) @ unit(reference).mT
    # The points come first: the origin goes to their mean, whatever else is in the batch.
    return -squared_distances(reference, z).mT


def root(squared: Tensor) -> Tensor:
    """Square root with gradient 0, not infinite, at 0.

    >>> root(torch.tensor([9., 0.]))
    tensor([3., 0.])
    """
    apart = squared != 0  # true of nan, which must be seen
    return torch.where(apart, squared, 1.0).sqrt() * apart


def unit(z: Tensor) -> Tensor:
    """Rows scaled to length 1; rows of zeros stay 0, with gradient 0.

    >>> unit(torch.tensor([[3., 4.], [0., 0.]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    apart = (z != 0).any(1, keepdim=True)  # true of nan, which must be seen
    return torch.nn.functional.normalize(torch.where(apart, z, 0.0), dim=1)


def evenly(n: int, most: int) -> Tensor:
    """Rows of an even choice of at most so many of n, first and last among them.

    >>> evenly(10, 4), evenly(3, 4)
    (tensor([0, 3, 6, 9]), tensor([0, 1, 2]))
    """
    return torch.linspace(0, n - 1, min(n, most)).long()


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Mean over the kept entries; 0, still attached to the graph, when none is kept."""
    return torch.where(keep, values, 0.0).sum() / keep.sum().clamp_min(1)


def masked_logsumexp(values: Tensor, keep: Tensor) -> Tensor:
    """log sum exp over the kept columns of each row, (n,); 0 for rows where none is kept."""
    some = keep.any(1)
    # A row of -inf alone has no gradient that is a number, so an empty row is filled before and set after.
    filled = torch.where(keep, values, -torch.inf).masked_fill(~some[:, None], 0.0)
    return torch.where(some, filled.logsumexp(1), 0.0)


def class_centres(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The classes present (c,), their means (c, d), and for each point the row of its class (n,).

    >>> z = torch.tensor([[0.0, 0.0], [2.0, 4.0], [6.0, 6.0]])
    >>> class_centres(z, torch.tensor([7, 7, 9]))
    (tensor([7, 9]), tensor([[1., 2.],
            [6., 6.]]), tensor([0, 0, 1]))
    """
    classes, row, counts = torch.unique(y, return_inverse=True, return_counts=True)
    origin = _middle(z)
    sums = z.new_zeros(len(classes), z.shape[1]).index_add(0, row, z - origin)
    return classes, sums / counts[:, None] + origin, row


def centred(z: Tensor) -> Tensor:
    """The points about the median of some 500: a constant column becomes 0, about a mean it may not."""
    return z - _middle(z)


def _middle(z: Tensor) -> Tensor:
    return z[:: max(1, len(z) // 500)].median(0).values if len(z) else z.sum(0)
