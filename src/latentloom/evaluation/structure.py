"""Scores of the shape of a latent space: how apart the classes are, in how many dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.evaluation._table import labelled_rows, score
from latentloom.evaluation.blocks import all_finite, blocks, class_centres
from latentloom.evaluation.geometry import ratio
from latentloom.latent.geometry import centred

BLOCK = 2**20  # distances held at a time, 8 MiB
RESOLVED = 1e-3  # of a point's distance from the origin; below it a product of coordinates cancels too much


def silhouette_samples(z: Tensor, y: Tensor) -> Tensor:
    """The silhouette of each point, (n,) float64; nan for unlabelled points.

    With own the mean distance to the other points of its class, and other the least, over the other
    classes, of the mean distances to their points, a point has

        (other - own) / max(own, other)

    Euclidean and exact. Time n^2 d / 2; memory n (d + C) float64 and 8 MiB of distances at a time.

    Degenerate: 0 for the only point of a class, and where own and other are both 0; -1 where there is
    one class; nan for all where a labelled point is not finite.
    """
    values = torch.full(y.shape, math.nan, dtype=torch.float64, device=z.device)
    points, labels = labelled_rows(z, y)
    if len(points) and all_finite(points):
        order = labels.argsort(stable=True)
        _, counts = torch.unique(labels, return_counts=True)
        by_class = _silhouettes(_unit_scale(points[order]), counts)
        values[y >= 0] = torch.empty_like(by_class).index_copy(0, order, by_class).to(z.device)
    return values


@score(better="higher", low=-1.0, high=1.0, per_image=silhouette_samples)
def silhouette(z: Tensor, y: Tensor) -> Tensor:
    """Mean silhouette: are points nearer to their own class than to the next one.

    The mean over points of (other - own) / max(own, other); see `silhouette_samples`. Equals
    `sklearn.metrics.silhouette_score`, which refuses one class and a class for every point.

    Degenerate: -1 where there is one class, nothing being apart; a point that is alone in its class,
    or in one place with its own and the next class, counts 0, so all points in one place score 0.

    Paper: Rousseeuw 1987, Silhouettes, J. Comput. Appl. Math. 20.
    """
    return silhouette_samples(z, y).mean()


@score(better="lower", low=0.0, high=math.inf, in_blocks=True)
def scatter_ratio(z: Tensor, y: Tensor) -> Tensor:
    """Squared spread inside classes over squared spread between class means.

    sum over i of |z[i] - g[y[i]]|^2 / sum over i of |g[y[i]] - mean(z)|^2

    Degenerate: inf where there is one class, or all class means are in one place.
    """
    return ratio(*scatter(z, y))


@score(better="higher", low=1.0, high=math.inf, in_blocks=True)
def effective_rank(z: Tensor) -> Tensor:
    """Number of dimensions that the points use: exp of the entropy of their variances.

    exp(-sum over k of p[k] log p[k]), p the eigenvalues of the covariance divided by their sum. At most
    d, reached where all directions vary alike. Labels play no part. Classes drawn to one point each
    leave C - 1 dimensions, so less is not always worse: it warns of a collapse.

    Degenerate: 1 where the points are on a line, or in one place.

    Paper: Roy and Vetterli 2007, The effective rank, EUSIPCO; there of singular values, here of
    their squares, the variances.
    """
    variances = principal_variances(z)
    shares = variances / variances.sum().clamp_min(torch.finfo(variances.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp().clamp_min(1.0)


@score(better="higher", low=0.0, high=math.inf, in_blocks=True)
def components(z: Tensor) -> Tensor:
    """Number of principal components that hold 95 % of the variance.

    The least k with (v[1] + .. + v[k]) >= 0.95 sum(v), v the eigenvalues of the covariance in falling
    order. Labels play no part.

    Degenerate: 0 where all points are in one place.
    """
    variances = principal_variances(z)
    before = variances.cumsum(0) - variances
    return (before < 0.95 * variances.sum()).sum().to(variances)


def scatter(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of squares within classes and between class means; they add up to that of the labelled points."""
    classes, centres, counts = class_centres(z, y)
    own = (points - centres[torch.searchsorted(classes, labels)] for points, labels in blocks(z, y))
    within = torch.stack([away.square().sum() for away in own]).sum()
    # About one of them, so that centres that are all the same are 0 exactly.
    apart = centres - centres[0]
    mean = (counts[:, None] * apart).sum(0) / counts.sum()
    return within, (counts * (apart - mean).square().sum(1)).sum()


def principal_variances(z: Tensor, y: Tensor | None = None) -> Tensor:
    """Eigenvalues of the covariance of finite points, falling, (min(n, d),): of all, or the labelled."""
    one = torch.zeros(len(z), dtype=torch.int64, device=z.device) if y is None else y.clamp(-1, 0)
    (mean,), n = class_centres(z, one)[1], int((one >= 0).sum())
    if z.shape[1] > n:
        rows = torch.cat([points - mean for points, _ in blocks(z, one)])
        gram = rows @ rows.T
    else:
        gram = mean.new_zeros(len(mean), len(mean))
        for points, _ in blocks(z, one):
            away = points - mean
            gram.addmm_(away.T, away)
    rising: Tensor = torch.linalg.eigvalsh(gram / n)
    return rising.flip(0).clamp_min(0.0)


def _unit_scale(z: Tensor) -> Tensor:
    """The points about such a median and at most 1 in size, so that no square overflows."""
    z = centred(z)
    size = torch.stack(z.aminmax()).abs().amax()
    return z.div_(size.clamp_min(torch.finfo(z.dtype).tiny))


def _silhouettes(z: Tensor, counts: Tensor) -> Tensor:
    """Silhouettes of points that are sorted by class, (n,); counts are the sizes of the classes."""
    if len(counts) < 2:
        return z.new_full((len(z),), -1.0)
    row = torch.arange(len(counts), device=z.device).repeat_interleave(counts)
    own, other = _own_and_other(_class_sums(z, row, len(counts)), row, counts)
    lost = (torch.maximum(own, other) < RESOLVED * torch.linalg.vector_norm(z, dim=1)).nonzero()[:, 0]
    for few in torch.split(lost, max(1, BLOCK // len(z))):  # many far points in one place: measured directly
        distances = torch.cdist(z[few], z, compute_mode="donot_use_mm_for_euclid_dist")
        own[few], other[few] = _own_and_other(_sums(distances, counts), row[few], counts)
    larger = torch.maximum(own, other)
    defined = (larger > 0) & (counts[row] > 1)
    return torch.where(defined, (other - own) / larger, 0.0)


def _class_sums(z: Tensor, row: Tensor, classes: int) -> Tensor:
    """Summed distances from each point to each class, (n, C); every pair is measured once."""
    squares = torch.linalg.vecdot(z, z)
    sums = z.new_zeros(len(z), classes)
    side = min(math.isqrt(BLOCK), max(256, len(z) // 8))  # blocks on the diagonal are half in vain
    blocks = torch.split(torch.arange(len(z), device=z.device), side)
    for k, a in enumerate(blocks):
        for b in blocks[k:]:
            distances = torch.addmm(squares[b], z[a], z[b].T, alpha=-2.0)
            distances.add_(squares[a, None]).clamp_min_(0.0).sqrt_()
            if a is b:
                distances.fill_diagonal_(0.0)
            else:
                _add(sums, b, row[a], distances.T)
            _add(sums, a, row[b], distances)
    return sums


def _add(sums: Tensor, points: Tensor, row: Tensor, distances: Tensor) -> None:
    present, counts = torch.unique_consecutive(row, return_counts=True)
    sums[points[0] : points[-1] + 1, present[0] : present[-1] + 1] += _sums(distances, counts)


def _sums(distances: Tensor, counts: Tensor) -> Tensor:
    """Row sums of (m, n) over columns that are sorted by class, (m, C)."""
    return torch.stack([part.sum(1) for part in torch.split(distances, counts.tolist(), dim=1)], dim=1)


def _own_and_other(sums: Tensor, row: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance to the rest of the own class, and the least mean distance to another."""
    own = sums.gather(1, row[:, None])[:, 0] / (counts[row] - 1).clamp_min(1)
    step = max(1, BLOCK // len(counts))
    others = [
        (some / counts).scatter_(1, label[:, None], math.inf).amin(1)
        for some, label in zip(torch.split(sums, step), torch.split(row, step), strict=True)
    ]
    return own, torch.cat(others)
