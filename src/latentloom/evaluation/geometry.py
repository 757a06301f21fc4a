"""Scores of classes as clusters around their centres, as Moving Targets (2023) measures them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.evaluation._table import labelled_rows, score
from latentloom.latent.geometry import class_centres as centres_of
from latentloom.latent.geometry import evenly, unit

LARGEST = 2000  # classes whose centres are compared pair by pair; of more, an even choice of so many


@score(better="lower", low=0.0, high=math.inf)
def cluster_size(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Median distance of points to the centre of their class.

    median over i of |z[i] - g[y[i]]|, in units of z. The centres g (C, d) are means of training latents
    where they are given, else those of the points themselves. Points of a class without a centre are
    left out.

    Degenerate: 0 where every class is one point, and also where all points are one: read it with
    `centre_distance`, or take `size_to_distance`.
    """
    centres, row = _located(z, y, class_centres)
    return _median(torch.linalg.vector_norm(z - centres[row], dim=1))


@score(better="higher", low=0.0, high=math.inf)
def centre_distance(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Mean distance of class centres to their common mean.

    mean over classes j of |g[j] - mean(g)|, in units of z; every class counts the same. The centres as
    in `cluster_size`.

    Degenerate: 0 where there is one class, or all class centres are in one place.
    """
    centres = _present(_located(z, y, class_centres)[0])
    distances: Tensor = torch.linalg.vector_norm(centres - centres.mean(0), dim=1)
    return distances.mean()


@score(better="lower", low=0.0, high=math.inf)
def size_to_distance(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Cluster size over centre distance; below 1 classes are tighter than they are apart.

    cluster_size / centre_distance, whatever the scale of z.

    Degenerate: inf where there is one class, or all class centres are in one place.
    """
    given = () if class_centres is None else (class_centres,)
    size: Tensor = cluster_size(z, y, *given)
    return ratio(size, centre_distance(z, y, *given))


@score(better="higher", low=0.0, high=math.inf)
def centre_spacing(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Mean distance of two class centres.

    mean over classes j < k of |g[j] - g[k]|, in units of z. The centres as in `cluster_size`; of more
    than 2,000 classes an even choice of 2,000.

    Degenerate: 0 where there is one class, or all class centres are in one place.
    """
    centres = _present(_located(z, y, class_centres)[0])
    chosen = centres[evenly(len(centres), LARGEST)]
    pairs = len(chosen) * (len(chosen) - 1) / 2
    return torch.pdist(chosen).sum() / max(pairs, 1)


@score(better="higher", low=-1.0, high=1.0)
def centre_cosine(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Median cosine of points and the centre of their class.

    median over i of z[i].g[y[i]] / (|z[i]| |g[y[i]]|), about the origin of the latent space. The centres
    as in `cluster_size`.

    Degenerate: a point or a centre in the origin has the cosine 0.
    """
    centres, row = _located(z, y, class_centres)
    return _median((unit(z) * unit(centres)[row]).sum(1).clamp(-1, 1))


def class_geometry(z: Tensor, y: Tensor, class_centres: Tensor) -> dict[str, Tensor]:
    """Figures of each class, (C,) float64 each; nan where there is nothing to measure.

    images, cluster_size (median distance of its points to its centre), centre_distance (of its centre to
    the mean of all centres), nearest_centre (distance of its centre to the next one), centre_cosine
    (median cosine of its points and its centre).
    """
    points, labels = labelled_rows(z, y)
    centres = class_centres.to(points)
    away = torch.linalg.vector_norm(points - centres[labels], dim=1)
    cosine = (unit(points) * unit(centres)[labels]).sum(1)
    apart = torch.cdist(centres, centres).fill_diagonal_(math.inf).nan_to_num(math.inf, math.inf)
    rows = [labels == label for label in range(len(centres))]
    return {
        "images": torch.stack([row.sum().double() for row in rows]),
        "cluster_size": torch.stack([_median(away[row]) for row in rows]),
        "centre_distance": torch.linalg.vector_norm(centres - _present(centres).mean(0), dim=1),
        "nearest_centre": torch.where(centres.isfinite().all(1), apart.amin(1), math.nan),
        "centre_cosine": torch.stack([_median(cosine[row]) for row in rows]),
    }


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below; inf where below is 0."""
    return torch.where(below > 0, above / below, math.inf)


def _located(z: Tensor, y: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
    """Centres, and for each point the row of its class."""
    if given is not None:
        return given, y
    _, centres, row = centres_of(z, y)
    return centres, row


def _present(centres: Tensor) -> Tensor:
    return centres[centres.isfinite().all(1)]


def _median(values: Tensor) -> Tensor:
    """Of those that are numbers; nan where there is none."""
    found = values[~values.isnan()].sort().values
    return (
        found[[(len(found) - 1) // 2, len(found) // 2]].mean() if len(found) else values.new_tensor(math.nan)
    )
