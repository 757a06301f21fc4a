"""Pseudo-labels: the class of the nearest class centre, for points that are clearly nearest to it."""

from __future__ import annotations

import torch
from torch import Tensor

from latentloom.checks import UserError, check_labelled
from latentloom.latent.geometry import class_centres, root, squared_distances


@torch.no_grad()
def pseudo_labels(z: Tensor, y: Tensor, share: float) -> Tensor:
    """A class for the most confident unlabelled points, (n,) int64; -1 for all others.

    With d1 and d2 the distances of a point to the nearest and the second nearest class centre, the mean
    of the labelled points of a class, the point is of the class of the nearest with

        confidence = 1 - d1 / d2

    in [0, 1]. It ranks points as d2 / d1 - 1 does and is finite on a centre; unlike d2 - d1 it does not
    grow with the distance from all centres.

    The classes take turns, each with its most confident point that is left, so that a class that many
    points fall to is given no more of them than another: its surplus would be other classes' points,
    and next time its centre would draw more of them.

    Args:
        z: points, (n, d).
        y: classes, (n,); -1 is unlabelled.
        share: of the unlabelled points that get a class, in [0, 1], rounded to whole points.

    Points halfway between two centres get none, nor do any where fewer than two classes have a label.
    """
    check_labelled(z, y)
    if not 0 <= share <= 1:
        raise UserError(f"wanted a share of the unlabelled points in [0, 1], got {share}")
    found = torch.full(y.shape, -1, dtype=torch.int64, device=y.device)
    rows = (y < 0).nonzero()[:, 0]
    classes, centres, _ = class_centres(z[y >= 0], y[y >= 0])
    if len(classes) < 2:
        return found
    distance, which = root(squared_distances(z[rows], centres)).topk(2, dim=1, largest=False)
    confidence = 1 - distance[:, 0] / distance[:, 1]  # nan where two centres are one
    taken = _by_turns(which[:, 0], confidence)[: round(share * len(rows))]
    found[rows[taken]] = classes[which[taken, 0]].long()
    return found


def _by_turns(of: Tensor, confidence: Tensor) -> Tensor:
    """Rows of a confidence above 0: every class's most confident, then every class's second, and so on.

    Within a turn the most confident first.
    """
    rows = (confidence > 0).nonzero()[:, 0]
    rows = rows[confidence[rows].argsort(descending=True, stable=True)]
    grouped = of[rows].argsort(stable=True)
    count = of[rows].bincount()
    turn = torch.empty_like(grouped)
    turn[grouped] = torch.arange(len(rows), device=of.device) - (count.cumsum(0) - count)[of[rows[grouped]]]
    return rows[turn.argsort(stable=True)]
