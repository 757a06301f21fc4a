"""Scores of classes as clusters around their centres, as Moving Targets (2023) measures them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.evaluation._table import checked_rows, score
from latentloom.evaluation.blocks import blocks, exact
from latentloom.evaluation.blocks import class_centres as centres_of
from latentloom.latent.geometry import evenly, unit

BLOCK = 2**22  # distances held at a time, 32 MiB
LARGEST = 2000  # classes whose centres are compared pair by pair; of more, an even choice of so many


@score(better="lower", low=0.0, high=math.inf, in_blocks=True)
def cluster_size(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Median distance of points to the centre of their class.

    median over i of |z[i] - g[y[i]]|, in units of z. The centres g (C, d) are means of training latents
    where they are given, else those of the points themselves. Points of a class without a centre are
    left out.

    Degenerate: 0 where every class is one point, and also where all points are one: read it with
    `centre_distance`, or take `size_to_distance`.
    """
    return _median(_distances(z, y, *_located(z, y, class_centres)))


@score(better="higher", low=0.0, high=math.inf, in_blocks=True)
def centre_distance(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Mean distance of class centres to their common mean.

    mean over classes j of |g[j] - mean(g)|, in units of z; every class counts the same. The centres as
    in `cluster_size`.

    Degenerate: 0 where there is one class, or all class centres are in one place.
    """
    centres = _present(_located(z, y, class_centres)[1])
    distances: Tensor = torch.linalg.vector_norm(centres - centres.mean(0), dim=1)
    return distances.mean()


@score(better="lower", low=0.0, high=math.inf, in_blocks=True)
def size_to_distance(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Cluster size over centre distance; below 1 classes are tighter than they are apart.

    cluster_size / centre_distance, whatever the scale of z.

    Degenerate: inf where there is one class, or all class centres are in one place.
    """
    given = () if class_centres is None else (class_centres,)
    size: Tensor = cluster_size(z, y, *given)
    return ratio(size, centre_distance(z, y, *given))


@score(better="higher", low=0.0, high=math.inf, in_blocks=True)
def centre_spacing(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Mean distance of two class centres.

    mean over classes j < k of |g[j] - g[k]|, in units of z. The centres as in `cluster_size`; of more
    than 2,000 classes an even choice of 2,000.

    Degenerate: 0 where there is one class, or all class centres are in one place.
    """
    centres = _present(_located(z, y, class_centres)[1])
    chosen = centres[evenly(len(centres), LARGEST)]
    pairs = len(chosen) * (len(chosen) - 1) / 2
    return torch.pdist(chosen).sum() / max(pairs, 1)


@score(better="higher", low=-1.0, high=1.0, in_blocks=True)
def centre_cosine(z: Tensor, y: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Median cosine of points and the centre of their class.

    median over i of z[i].g[y[i]] / (|z[i]| |g[y[i]]|), about the origin of the latent space. The centres
    as in `cluster_size`.

    Degenerate: a point or a centre in the origin has the cosine 0.
    """
    return _median(_cosines(z, y, *_located(z, y, class_centres)).clamp(-1, 1))


def class_geometry(z: Tensor, y: Tensor, class_centres: Tensor) -> dict[str, Tensor]:
    """Figures of each class, (C,) float64 each; nan where there is nothing to measure.

    images, cluster_size (median distance of its points to its centre), centre_distance (of its centre to
    the mean of all centres), nearest_centre (distance of its centre to the next one), centre_cosine
    (median cosine of its points and its centre).
    """
    points, y = checked_rows(z, y)
    centres = class_centres.detach().to(exact(points[:0]))
    labels, classes, there = y[y >= 0], torch.arange(len(centres), device=y.device), centres.isfinite().all(1)
    nearest = centres.new_full((len(centres),), math.nan)
    if there.any():
        nearest[there] = nearest_other(centres[there], "use_mm_for_euclid_dist_if_necessary")[0]
    return {
        "images": labels.bincount(minlength=len(centres)).double(),
        "cluster_size": _medians(_distances(points, y, classes, centres), labels, len(centres)),
        "centre_distance": torch.linalg.vector_norm(centres - _present(centres).mean(0), dim=1),
        "nearest_centre": nearest,
        "centre_cosine": _medians(_cosines(points, y, classes, centres), labels, len(centres)),
    }


def nearest_other(places: Tensor, mode: str = "donot_use_mm_for_euclid_dist") -> tuple[Tensor, Tensor]:
    """Of the nearest other place, for each of some (c, d): distance (c,), inf for one alone, and row (c,)."""
    found = []
    for rows in torch.split(torch.arange(len(places), device=places.device), max(1, BLOCK // len(places))):
        distances = torch.cdist(places[rows], places, compute_mode=mode)
        found.append(distances.scatter(1, rows[:, None], math.inf).min(1))
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


def ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below; inf where below is 0."""
    return torch.where(below > 0, above / below, math.inf)


def _located(z: Tensor, y: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
    """Classes, rising, and the centre of each."""
    if given is not None:
        return torch.arange(len(given), device=given.device), given
    classes, centres, _ = centres_of(z, y)
    return classes, centres


def _distances(z: Tensor, y: Tensor, classes: Tensor, centres: Tensor) -> Tensor:
    """Of each labelled point to the centre of its class, (n,)."""
    rows = ((points, centres[torch.searchsorted(classes, labels)]) for points, labels in blocks(z, y))
    return torch.cat([torch.linalg.vector_norm(points - own, dim=1) for points, own in rows])


def _cosines(z: Tensor, y: Tensor, classes: Tensor, centres: Tensor) -> Tensor:
    """Of each labelled point and the centre of its class, (n,)."""
    directions = unit(centres)
    rows = ((points, directions[torch.searchsorted(classes, labels)]) for points, labels in blocks(z, y))
    return torch.cat([(unit(points) * own).sum(1) for points, own in rows])


def _present(centres: Tensor) -> Tensor:
    return centres[centres.isfinite().all(1)]


def _median(values: Tensor) -> Tensor:
    """Of those that are numbers; nan where there is none."""
    return _medians(values, torch.zeros_like(values, dtype=torch.int64), 1)[0]


def _medians(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """The median of the values of each group, (count,); those that are no numbers are left out."""
    known = ~values.isnan()
    values, groups = values[known], groups[known]
    rising = values.argsort()
    ordered = values[rising[groups[rising].argsort(stable=True)]]
    counts = groups.bincount(minlength=count)
    some = counts > 0
    start = (counts.cumsum(0) - counts)[some]
    medians = values.new_full((count,), math.nan)
    medians[some] = (ordered[start + (counts[some] - 1) // 2] + ordered[start + counts[some] // 2]) / 2
    return medians
