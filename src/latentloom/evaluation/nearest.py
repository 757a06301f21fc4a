"""Class centres, and the classifier that takes the nearest of some points."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.evaluation._table import checked_rows, score
from latentloom.evaluation.blocks import all_finite, blocks, class_centres, exact
from latentloom.latent.geometry import Metric, unit

BLOCK = 2**22  # distances held at a time, 32 MiB


def class_means(z: Tensor, y: Tensor, classes: int) -> Tensor:
    """Mean latent of each class, (C, d) float64; nan for classes of which there is no labelled point.

    >>> class_means(torch.tensor([[0.0], [2.0], [6.0]]), torch.tensor([1, 1, -1]), 2)
    tensor([[nan],
            [1.]], dtype=torch.float64)
    """
    means = torch.full((classes, z.shape[1]), math.nan, dtype=torch.float64, device=z.device)
    present, found, _ = class_centres(z, y)
    means[present] = found.to(means.device)
    return means


def nearest(z: Tensor, reference: Tensor, metric: Metric = "euclidean") -> Tensor:
    """For each row of z (n, d) the row of reference (C, d) that is nearest, (n,) int64.

    The classifier NN of Moving Targets (2023): over class embeddings, or over class centres. Exact, in
    float64, 32 MiB of distances at a time.

    Args:
        z: points, (n, d).
        reference: a point per class, (C, d); rows that are not finite are never the nearest.
        metric: Euclidean distance, or the angle from the origin (the largest cosine). A point in the
            origin has no angle, and all references are alike to it.

    Of references equally near the first is taken.
    """
    check_choice("metric", metric, ("euclidean", "cosine"))
    if reference.ndim != 2 or reference.shape[1:] != z.shape[1:]:
        raise UserError(
            f"wanted a reference point (C, {z.shape[-1]}) per class, got {tuple(reference.shape)}"
        )
    usable = reference.isfinite().all(1).nonzero()[:, 0]
    if len(usable) == 0:
        raise UserError("no reference point is finite; is there a class with labelled images?")
    places, step = exact(reference[usable]), max(1, BLOCK // len(usable))
    found = [_nearest(some, places, metric) for points, _ in blocks(z) for some in torch.split(points, step)]
    return usable[torch.cat(found)] if found else usable[:0]


def _nearest(points: Tensor, places: Tensor, metric: Metric) -> Tensor:
    """Row of the nearest place, (m,), of points few enough for all distances at once."""
    if metric == "euclidean":
        return torch.cdist(points, places).argmin(1)
    found = torch.cdist(unit(points), unit(places)).argmin(1)
    return found.masked_fill((points == 0).all(1), 0)  # all are as near, but for rounding


def _right(z: Tensor, y: Tensor, reference: Tensor, metric: Metric = "euclidean") -> Tensor:
    """1 where the nearest reference is that of the class, else 0, (n,) float64; nan where unlabelled."""
    values = torch.full(y.shape, math.nan, dtype=torch.float64, device=y.device)
    points, labels = checked_rows(z, y)
    there = (labels >= 0).any() and reference.isfinite().all(1).any()
    if there and all_finite(points, labels):
        places = reference.to(labels.device)
        right = [nearest(some, places, metric) == own for some, own in blocks(points, labels)]
        values[y >= 0] = torch.cat(right).to(y.device, torch.float64)
    return values


_right_by_cosine = partial(_right, metric="cosine")


@score(better="higher", low=0.0, high=1.0, per_image=_right, in_blocks=True)
def nearest_embedding_accuracy(z: Tensor, y: Tensor, class_embeddings: Tensor) -> Tensor:
    """Share of images whose nearest class embedding is that of their class.

    mean over i of [argmin over j of |z[i] - c[j]| == y[i]], c (C, d) the learned vectors of the classes.

    Degenerate: of class embeddings equally near the first counts as the nearest.

    Paper: Moving Targets (2023), the classifier called euc_ce there.
    """
    return _right(z, y, class_embeddings).nanmean()


@score(better="higher", low=0.0, high=1.0, per_image=_right_by_cosine, in_blocks=True)
def nearest_embedding_cosine_accuracy(z: Tensor, y: Tensor, class_embeddings: Tensor) -> Tensor:
    """Share of images whose class embedding of largest cosine is that of their class.

    mean over i of [argmax over j of cos(z[i], c[j]) == y[i]], about the origin of the latent space.

    Degenerate: a point in the origin has the cosine 0 with all, and of equal ones the first counts.

    Paper: Moving Targets (2023), the classifier called cos_ce there.
    """
    return _right_by_cosine(z, y, class_embeddings).nanmean()


@score(better="higher", low=0.0, high=1.0, per_image=_right, in_blocks=True)
def nearest_centre_accuracy(z: Tensor, y: Tensor, class_centres: Tensor) -> Tensor:
    """Share of images whose nearest class centre is that of their class.

    mean over i of [argmin over j of |z[i] - g[j]| == y[i]], g (C, d) the means of training latents; a row
    of nan is a class without one, which is never predicted.

    Degenerate: of class centres equally near the first counts as the nearest.

    Paper: Moving Targets (2023), the classifier called euc there.
    """
    return _right(z, y, class_centres).nanmean()


@score(better="higher", low=0.0, high=1.0, per_image=_right_by_cosine, in_blocks=True)
def nearest_centre_cosine_accuracy(z: Tensor, y: Tensor, class_centres: Tensor) -> Tensor:
    """Share of images whose class centre of largest cosine is that of their class.

    mean over i of [argmax over j of cos(z[i], g[j]) == y[i]], about the origin of the latent space.

    Degenerate: a point in the origin has the cosine 0 with all, and of equal ones the first counts.

    Paper: Moving Targets (2023), the classifier called cos there.
    """
    return _right_by_cosine(z, y, class_centres).nanmean()
