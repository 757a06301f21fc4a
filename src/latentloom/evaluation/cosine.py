"""Silhouettes by the cosine distance, in time that grows with the number of points times that of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.evaluation.blocks import blocks
from latentloom.evaluation.blocks import class_centres as centres_of

BLOCK = 2**22  # distances held at a time, 32 MiB
RESOLVED = 1e-6  # below it 1 - cos is taken from differences of directions, not from a product
ONE_DIRECTION = 1e-28  # 1 - cos of directions that differ by rounding alone


def cosine_silhouettes(z: Tensor, y: Tensor) -> Tensor:
    """Silhouettes of labelled points, by 1 - cos(u, v) = (|u - v|^2 + [u = 0] + [v = 0]) / 2."""
    classes, middles, counts = centres_of(z, y, _directions)
    if len(classes) < 2:
        return middles.new_full((int(counts.sum()),), -1.0)
    spread = middles.new_zeros(len(classes))
    for points, labels in blocks(z, y):
        row, directions = torch.searchsorted(classes, labels), _directions(points)
        within = (directions - middles[row]).square().sum(1) + _nowhere(directions)
        spread.index_add_(0, row, within)
    step = max(1, BLOCK // len(classes))
    found = [
        _of_directions(directions, torch.searchsorted(classes, of), middles, spread / counts, counts)
        for points, labels in blocks(z, y)
        for directions, of in zip(
            torch.split(_directions(points), step), torch.split(labels, step), strict=True
        )
    ]
    return torch.cat(found)


def _of_directions(
    directions: Tensor, row: Tensor, middles: Tensor, spread: Tensor, counts: Tensor
) -> Tensor:
    """Silhouettes of some directions (m, d) of the classes `row`, among classes with a mean and a spread."""
    apart = torch.addmm(middles.square().sum(1), directions, middles.T, alpha=-2.0)
    apart.add_(directions.square().sum(1, keepdim=True)).clamp_min_(0.0)
    own, other = _own_and_other(apart, directions, row, spread, counts)
    lost = torch.maximum(own, other) < RESOLVED  # of a product of coordinates little is left there
    if lost.any():
        apart = torch.cdist(directions[lost], middles, compute_mode="donot_use_mm_for_euclid_dist").square()
        own[lost], other[lost] = _own_and_other(apart, directions[lost], row[lost], spread, counts)
    larger = torch.maximum(own, other)
    defined = (larger > ONE_DIRECTION) & (counts[row] > 1)
    return torch.where(defined, (other - own) / larger, 0.0)


def _own_and_other(
    apart: Tensor, directions: Tensor, row: Tensor, spread: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean of 1 - cos to the rest of the own class, and the least to another class; apart is overwritten."""
    nowhere = _nowhere(directions)
    means = apart.add_(spread).add_(nowhere[:, None]).div_(2)  # (m, C): to all of a class, itself included
    own = means.gather(1, row[:, None])[:, 0] * counts[row] - nowhere
    other = means.scatter_(1, row[:, None], math.inf).amin(1)
    return own / (counts[row] - 1).clamp_min(1), other


def _directions(z: Tensor) -> Tensor:
    """The points scaled to length 1; those in the origin stay there."""
    lengths: Tensor = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z / lengths.clamp_min(torch.finfo(z.dtype).tiny)


def _nowhere(directions: Tensor) -> Tensor:
    """1 for points in the origin, which have no direction, else 0, (n,)."""
    return (directions == 0).all(1).to(directions)
