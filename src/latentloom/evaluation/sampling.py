"""Silhouettes where there are too many points to measure every pair of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.evaluation.blocks import all_finite

BLOCK = 2**21  # distances held at a time, 16 MiB
SUMS = 2**26  # summed distances held at a time, 512 MiB; with many classes the points are taken in parts
RESOLVED = 1e-3  # of a point's distance from the origin; below it a product of coordinates cancels too much


def silhouettes_of(z: Tensor, y: Tensor, rows: Tensor) -> Tensor:
    """The silhouettes of some of the points, each measured against all of them, (m,) float64.

    The values that `silhouette_samples(z, y)[rows]` has, each as exact as there: a sample is taken of
    the points whose silhouette is asked for, never of those that it is measured against, so that small
    classes keep their distances. Time m n d; memory m d and at most m C float64, 512 MiB of sums and 16 MiB
    of distances. z is read block by block, so that it may be a file that is mapped to memory.

    Args:
        z: points, (n, d) floating.
        y: their classes, (n,) integer; those below 0 are unlabelled and left out.
        rows: of labelled points, (m,) int64.

    Degenerate: as `silhouette_samples`.
    """
    labelled = (y >= 0).nonzero()[:, 0]
    _, label, counts = torch.unique(y[labelled], return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return z.new_full((len(rows),), -1.0, dtype=torch.float64)
    parts = torch.split(rows, max(1, SUMS // len(counts)))
    return torch.cat([_silhouettes(z, labelled, label, counts, part) for part in parts])


def _silhouettes(z: Tensor, labelled: Tensor, label: Tensor, counts: Tensor, rows: Tensor) -> Tensor:
    """Those of some rows, (m,); of the labelled points there are also the rows of their classes."""
    middle = z[rows].double().median(0).values
    points = z[rows].double() - middle
    own_class = label[torch.searchsorted(labelled, rows)]
    sums = _summed(z, middle, labelled, label, points, rows, len(counts))
    known = sums.isfinite().all()
    own, other = _own_and_other(sums, own_class, counts)
    lost = torch.maximum(own, other) < RESOLVED * torch.linalg.vector_norm(points, dim=1)
    if lost.any():  # many far points in one place: measured directly
        exact = _summed(z, middle, labelled, label, points[lost], rows[lost], len(counts), direct=True)
        own[lost], other[lost] = _own_and_other(exact, own_class[lost], counts)
    larger = torch.maximum(own, other)
    defined = (larger > 0) & (counts[own_class] > 1)
    found = torch.where(defined, (other - own) / larger, 0.0)
    return torch.where(known, found, math.nan)


def _summed(
    z: Tensor,
    middle: Tensor,
    labelled: Tensor,
    label: Tensor,
    points: Tensor,
    rows: Tensor,
    classes: int,
    direct: bool = False,
) -> Tensor:
    """Summed distances from each class to each of some points, (C, m); nan where a point is not finite."""
    mode = "donot_use_mm_for_euclid_dist" if direct else "use_mm_for_euclid_dist"
    sums = points.new_zeros(classes, len(points))
    step = max(1, BLOCK // max(points.shape))
    for block, of in zip(torch.split(labelled, step), torch.split(label, step), strict=True):
        others = z[block].double()
        if not all_finite(others):
            return sums.fill_(math.nan)
        distances = torch.cdist(others - middle, points, compute_mode=mode)
        distances.masked_fill_(block[:, None] == rows, 0.0)  # of a point to itself
        sums.index_add_(0, of, distances)
    return sums


def _own_and_other(sums: Tensor, own_class: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance to the rest of the own class, and the least to another, (m,) each; sums are lost."""
    own = sums.gather(0, own_class[None])[0] / (counts[own_class] - 1).clamp_min(1)
    other = sums.div_(counts[:, None]).scatter_(0, own_class[None], math.inf).amin(0)
    return own, other
