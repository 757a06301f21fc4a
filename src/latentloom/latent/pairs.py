"""Who belongs with whom in a batch; no shape depends on the labels, so that terms compile whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def same_class(y: Tensor) -> Tensor:
    """(n, n) true where both rows are labelled and of one class; a row is with itself."""
    return (y[:, None] == y) & (y >= 0)


def positive_pairs(y: Tensor) -> Tensor:
    """(n, n) true where two different rows are of one class."""
    return same_class(y) & ~torch.eye(len(y), dtype=torch.bool, device=y.device)


def negative_pairs(y: Tensor) -> Tensor:
    """(n, n) true where both rows are labelled and of different classes."""
    return (y[:, None] != y) & (y >= 0) & (y >= 0)[:, None]


@dataclass(frozen=True)
class Groups:
    """Rows of a batch put together by a label; the first row of a group stands for it."""

    stands: Tensor  # (n,) bool, this row stands for its group
    index: Tensor  # (n,) int64, the row that stands for this row's group
    size: Tensor  # (n,) rows in this row's group; 0 where unlabelled

    @property
    def labelled(self) -> Tensor:
        """(n,) true where the row has a group."""
        return self.size > 0


def groups(label: Tensor) -> Groups:
    """Groups of equal labels; -1 is in none.

    >>> found = groups(torch.tensor([5, 3, 5, -1]))
    >>> found.index.tolist(), found.stands.tolist(), found.size.tolist()
    ([0, 1, 0, 3], [True, True, False, False], [2, 1, 2, 0])
    """
    same = same_class(label)
    rows = torch.arange(len(label), device=label.device)
    index = torch.where(label >= 0, same.int().argmax(1), rows)
    return Groups(stands=(index == rows) & (label >= 0), index=index, size=same.sum(1))


def group_sums(values: Tensor, of: Groups) -> Tensor:
    """Sum over each group, in the row that stands for it; 0 in the other rows. Shape of values."""
    mask = of.labelled.reshape(-1, *[1] * (values.ndim - 1))
    return torch.zeros_like(values).index_add(0, of.index, torch.where(mask, values, 0.0))


def group_means(z: Tensor, of: Groups) -> Tensor:
    """Mean of each group, (n, d), in the row that stands for it; 0 in the other rows."""
    return group_sums(z, of) / of.size.clamp_min(1)[:, None]
