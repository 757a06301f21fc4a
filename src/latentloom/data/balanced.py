"""Class-balanced batches: P classes, Q images of each, so that every image meets others of its class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from latentloom.checks import UserError
from latentloom.data.batches import ORDER, seed_of
from latentloom.data.labels import class_rows


@dataclass(frozen=True)
class Balanced:
    """Batches of P different classes with Q images each; an epoch has as many as plain batches would.

    Every image comes about equally often. A class has its turn as often as it has images, in an epoch to
    the nearest whole number of turns below or above, which is drawn so that it is right on average; within
    a class no image comes a second time before all others came once. Two things can make that impossible: a
    class that holds more than 1 / P of the images is in every batch and still comes less often than others;
    and of fewer than Q images some come twice in a turn.

    With groups, the classes of a batch are of G different groups, P / G of each, so that there are near
    classes to tell apart; a group has its turns as a class has.

    What an epoch holds depends on (seed, epoch) alone. Made by `balanced`.
    """

    by_class: tuple[Tensor, ...]  # rows of each class
    members: tuple[Tensor, ...]  # classes of each group, as numbers of by_class
    size: int
    each: int
    groups: int  # in a batch
    seed: int

    def __len__(self) -> int:
        return max(1, sum(map(len, self.by_class)) // self.size)

    def __call__(self, epoch: int) -> Tensor:
        """Rows of each batch, (batches, size); those of a class stand together."""
        generator = Generator().manual_seed(seed_of(self.seed, ORDER, epoch))
        classes = self._classes(generator)
        rows = classes.new_empty(*classes.shape, self.each)
        for label, of_class in enumerate(self.by_class):
            here = classes == label
            rows[here] = _endless(of_class, int(here.sum()) * self.each, generator).view(-1, self.each)
        return rows.flatten(1)

    def _classes(self, generator: Generator) -> Tensor:
        """Classes of each batch, (batches, P)."""
        count = torch.tensor([len(rows) for rows in self.by_class], dtype=torch.float64)
        within = self.size // self.each // self.groups
        weight = torch.stack([count[of].sum() for of in self.members])
        chosen = turns(weight, self.groups, len(self), generator)  # (batches, G)
        classes = chosen.new_empty(*chosen.shape, within)
        for group, of in enumerate(self.members):
            here = chosen == group
            classes[here] = of[turns(count[of], within, int(here.sum()), generator)]
        return classes.flatten(1)


def balanced(
    y: Tensor, size: int, each: int, seed: int, coarse: Tensor | None = None, groups: int | None = None
) -> Balanced:
    """Class-balanced batches of labelled rows.

    Args:
        y: classes, (n,); rows of -1 are left out.
        size: P Q, images in a batch.
        each: Q, images of a class in it.
        seed: of all that is drawn.
        coarse: group of each row, (n,); the rows of a class are in one group.
        groups: G, groups in a batch; any classes may meet unless given.
    """
    by_class = tuple(class_rows(y))
    if each < 1 or size % each or not each <= size <= each * len(by_class):
        raise UserError(
            f"wanted batches of {each} images of each of some of {len(by_class)} classes, got a batch of "
            f"{size}; set --data.batch to a multiple of --data.balanced, at most "
            f"{max(each, 1) * len(by_class)}"
        )
    if groups is None:
        return Balanced(by_class, (torch.arange(len(by_class)),), size, each, 1, seed)
    members = _members(by_class, coarse)
    wanted = size // each
    if groups < 1 or wanted % groups or groups > len(members) or wanted // groups > min(map(len, members)):
        raise UserError(
            f"wanted {wanted} classes of {groups} of {len(members)} groups, the smallest of "
            f"{min(map(len, members))} classes; set --data.balanced_groups to a divisor of {wanted} for "
            "which there are enough of both"
        )
    return Balanced(by_class, members, size, each, groups, seed)


def turns(weight: Tensor, take: int, batches: int, generator: Generator) -> Tensor:
    """For each batch `take` different ones of K kinds, (batches, take).

    A kind comes in proportion to its weight, up to once in every batch; numbers of turns that are not
    whole are drawn to the whole number below or above, right on average. Which kinds meet is drawn.

    Args:
        weight: above 0, (K,) float64, K >= take.
        take: kinds in a batch.
        batches: how many.
        generator: on the CPU.
    """
    left = _whole(_expected(weight, take, batches), generator)
    found = torch.empty(batches, take, dtype=torch.int64)
    for batch in range(batches):
        # Drawn without replacement in proportion to what is left (Efraimidis and Spirakis 2006); who would
        # not have its turns otherwise comes in every batch from here on.
        key = torch.rand(len(left), generator=generator, dtype=torch.float64).log() / left
        found[batch] = key.masked_fill(left >= batches - batch, 1).topk(take).indices
        left[found[batch]] -= 1
    return found


def _expected(weight: Tensor, take: int, batches: int) -> Tensor:
    """Turns of each kind, (K,): in proportion to the weight, at most `batches`, take * batches in all."""
    full = torch.zeros(len(weight), dtype=torch.bool)
    while True:
        rest = batches * (take - int(full.sum()))
        share = torch.where(full, batches, rest * weight / weight[~full].sum())
        if not (over := (share > batches) & ~full).any():
            return share
        full |= over


def _whole(expected: Tensor, generator: Generator) -> Tensor:
    """Each number rounded up or down, right on average, with the sum kept (systematic sampling)."""
    order = torch.randperm(len(expected), generator=generator)
    ends = expected[order].cumsum(0)
    ends[-1] = ends[-1].round()  # a whole number but for what rounding lost
    below = (ends + torch.rand((), generator=generator, dtype=torch.float64)).floor()
    whole = torch.empty(len(expected), dtype=torch.int64)
    whole[order] = below.diff(prepend=below.new_zeros(1)).long()
    return whole


def _endless(rows: Tensor, n: int, generator: Generator) -> Tensor:
    """The first n of the rows, shuffled again and again, (n,)."""
    times = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(-(-n // len(rows)))]
    return torch.cat([rows[:0], *times])[:n]


def _members(by_class: tuple[Tensor, ...], coarse: Tensor | None) -> tuple[Tensor, ...]:
    """Classes of each group; by the first row of a class its group is known."""
    if coarse is None:
        raise UserError("balanced groups want coarse labels, and the data have none; set --data.coarse")
    of_class = coarse.cpu()[torch.stack([rows[0] for rows in by_class])]
    return tuple((of_class == group).nonzero()[:, 0] for group in torch.unique(of_class[of_class >= 0]))
