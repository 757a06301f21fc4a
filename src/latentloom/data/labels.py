"""Partly labelled data: which labels are kept, and class-balanced batches of the rows that have one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Generator, Tensor

from latentloom.checks import UserError
from latentloom.data.batches import seed_of
from latentloom.data.splits import stratified_order

KEPT, CLASSES, ROWS = 2, 3, 4  # what a random draw is for; 0 and 1 are taken in batches


def keep_labels(y: Tensor, amount: int | float, *, seed: int, stratified: bool = True) -> Tensor:
    """The labels of some rows, chosen at random, and -1 for all others.

    What a smaller amount keeps a larger one keeps too, with the same seed. Where a class is left without
    a label, a warning says which and how many.

    Args:
        y: labels, (n,) int64; -1 is unlabelled.
        amount: a whole number of labelled rows to keep, or as a float in (0, 1] their share, rounded to
            whole rows: 1 keeps one label, 1.0 keeps all.
        seed: of the choice.
        stratified: of no class more than its share of the rows and one, so that of as many rows as there
            are classes each class has one; otherwise every choice of rows is as likely as any other.
    """
    labelled = (y >= 0).nonzero()[:, 0]
    kept = _wanted(amount, len(labelled))
    draw = seed_of(seed, KEPT)
    if stratified:
        order = stratified_order(y[labelled].cpu(), draw)
    else:
        order = torch.randperm(len(labelled), generator=Generator().manual_seed(draw))
    rows = labelled[order[:kept].to(y.device)]
    partial = torch.full_like(y, -1)
    partial[rows] = y[rows]
    if lost := lost_classes(partial, y):
        warnings.warn(lost, stacklevel=2)
    return partial


def lost_classes(kept: Tensor, y: Tensor) -> str | None:
    """What to say of the classes that have a label in y and none among those kept; None where there is none.

    >>> lost_classes(torch.tensor([0, -1, -1]), torch.tensor([0, 1, 1]))
    'left without a label: 1 of 2 classes (1)'
    """
    classes = int(y.max()) + 1
    never = absent_classes(y, classes)
    lost = [label for label in absent_classes(kept, classes) if label not in never]
    if not lost:
        return None
    named = ", ".join(map(str, lost[:10]))
    return f"left without a label: {len(lost)} of {classes - len(never)} classes ({named})"


def absent_classes(y: Tensor, classes: int) -> list[int]:
    """The classes, of 0 to classes - 1, of which no row is labelled.

    >>> absent_classes(torch.tensor([0, -1, 3, 3]), 4)
    [1, 2]
    """
    return (y[y >= 0].bincount(minlength=classes) == 0).nonzero()[:, 0].tolist()


def class_rows(y: Tensor) -> list[Tensor]:
    """For each class that has a labelled row, in the order of the classes, its rows on the CPU.

    >>> class_rows(torch.tensor([2, -1, 0, 2]))
    [tensor([2]), tensor([0, 3])]
    """
    labels = y.cpu()
    present = labels[labels >= 0].bincount().nonzero()[:, 0]
    return [(labels == label).nonzero()[:, 0] for label in present]


def balanced_rows(by_class: Sequence[Tensor], size: int, *, seed: int, step: int) -> Tensor:
    """The labelled rows of the batch of a step, (size,), balanced over the classes.

    One endless sequence is cut into batches. In each of its rounds every class has a pair of rows, and
    the classes come in a new order; so a batch of two or more holds rows that belong together, and the
    numbers of two classes in a batch differ by four at the most. The rows of a class are shuffled, taken
    one after the other, and shuffled again when all were had: a class that has fewer rows than places
    in the batch gives some of them again. The sequence is a function of the seed, so that there is no
    position to keep but the step.

    Args:
        by_class: rows of each class, from `class_rows`.
        size: of the batch.
        seed: of the order of classes and rows.
        step: 0, 1, ...: which batch.
    """
    if size < 1 or not by_class:
        raise UserError(
            f"wanted batches of at least one labelled row, got size {size} of {len(by_class)} classes with "
            "labels; keep more labels"
        )
    places = range(step * size, (step + 1) * size)
    return torch.stack([_row_at(place, by_class, seed) for place in places])


def _row_at(place: int, by_class: Sequence[Tensor], seed: int) -> Tensor:
    """What stands at a place of the endless sequence."""
    pair, second = divmod(place, 2)
    turn, nth = divmod(pair, len(by_class))
    which = int(_shuffled(len(by_class), seed, CLASSES, turn)[nth])
    rows = by_class[which]
    time, at = divmod(2 * turn + second, len(rows))
    return rows[_shuffled(len(rows), seed, ROWS, which, time)[at]]


@lru_cache(maxsize=256)  # for each class the pass that it is in; the places of a batch share them
def _shuffled(n: int, *numbers: int) -> Tensor:
    """0 to n - 1 in an order that is a function of the numbers."""
    return torch.randperm(n, generator=Generator().manual_seed(seed_of(*numbers)))


def _wanted(amount: int | float, labelled: int) -> int:
    """How many rows an amount is, of so many labelled ones."""
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise UserError(f"wanted a number of labels or a share of them, got {amount!r}; say 60 or 0.1")
    if isinstance(amount, float) and not 0 < amount <= 1:
        raise UserError(
            f"wanted a share of the labels in (0, 1], got {amount}; write a number of labels without a point"
        )
    rows = round(amount * labelled) if isinstance(amount, float) else amount
    if not 1 <= rows <= labelled:
        raise UserError(
            f"{amount} keeps {rows} of {labelled} labels; wanted at least one, and no more than there are"
        )
    return rows
