"""Scores of meaning: whether what is alike by its names and groups is near in the latent space.

Everywhere here, coarse_of (C,) holds the group of each class, and a class of no group (-1) is a group
of its own; label_embeddings (C, d) are vectors of the class names, of any length but 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from latentloom.checks import UserError
from latentloom.evaluation._table import checked_rows, score
from latentloom.evaluation.blocks import all_finite
from latentloom.evaluation.blocks import class_centres as centres_of
from latentloom.evaluation.classification import predicted_classes
from latentloom.evaluation.cosine import cosine_silhouettes
from latentloom.evaluation.geometry import nearest_other
from latentloom.evaluation.structure import silhouette_samples
from latentloom.latent.geometry import evenly, unit

LARGEST = 2000  # classes that are compared pair by pair; of more, an even choice of so many
DECIMALS = 6  # of distances of label embeddings, which come in float32
SAME = 1e-6  # of the largest distance; distances that differ by less say nothing of order


@score(better="higher", low=0.0, high=1.0, in_blocks=True)
def hit_rate(z: Tensor, y: Tensor, coarse_of: Tensor, class_centres: Tensor | None = None) -> Tensor:
    """Share of classes whose nearest other class centre is of the same group.

    mean over classes j of [group(j) == group(argmin over k != j of |g[j] - g[k]|)]

    The centres g (C, d) are means of training latents where they are given, else those of the points
    themselves; classes without a centre are left out. A class that is alone in its group cannot hit:
    `hit_rate_ceiling` says how much can be had.

    Degenerate: 0 where there is one class; of centres equally near the first counts as the nearest.

    Paper: LARESA (ICLR 2026 submission), Appendix B, NN-Hit.
    """
    classes, centres = _class_places(z, y, class_centres)
    if len(classes) < 2:
        return centres.new_zeros(())
    groups = groups_of(coarse_of, classes)
    return (groups[nearest_other(centres)[1]] == groups).to(centres).mean()


def hit_rate_ceiling(coarse_of: Tensor, classes: Tensor | None = None) -> float:
    """The highest `hit_rate` that groups allow: the share of classes with another in their group.

    >>> hit_rate_ceiling(torch.tensor([0, 0, 1, 1, 2]))
    0.8

    Of some classes (c,), where points of others are missing.
    """
    classes = torch.arange(len(coarse_of), device=coarse_of.device) if classes is None else classes
    _, row, counts = torch.unique(groups_of(coarse_of, classes), return_inverse=True, return_counts=True)
    return float((counts[row] > 1).double().mean())


def cosine_silhouette_samples(z: Tensor, y: Tensor) -> Tensor:
    """The silhouette of each point by cosine distance, (n,) float64; nan for unlabelled points.

    As `silhouette_samples`, with the distance 1 - cos, where a point in the origin has the cosine 0 with
    all. The mean of 1 - cos over a class needs its mean direction alone: exact in time n C d.
    """
    values = torch.full(y.shape, math.nan, dtype=torch.float64, device=z.device)
    points, labels = checked_rows(z, y)
    if (labels >= 0).any() and all_finite(points, labels):
        values[y >= 0] = cosine_silhouettes(points, labels).to(z.device)
    return values


@score(better="higher", low=-1.0, high=1.0, per_image=cosine_silhouette_samples, in_blocks=True)
def silhouette_cosine(z: Tensor, y: Tensor) -> Tensor:
    """Mean silhouette by cosine distance: do classes differ in direction.

    `silhouette` with the distance 1 - cos. Equals scikit-learn's with metric="cosine".

    Degenerate: as `silhouette`, and 0 for points of one direction.
    """
    return cosine_silhouette_samples(z, y).nanmean()


def coarse_silhouette_samples(z: Tensor, y: Tensor, coarse_of: Tensor) -> Tensor:
    """The silhouette of each point with groups for classes, (n,) float64; nan for unlabelled points."""
    return silhouette_samples(z, _groups(y, coarse_of))


def coarse_cosine_silhouette_samples(z: Tensor, y: Tensor, coarse_of: Tensor) -> Tensor:
    """The same by cosine distance."""
    return cosine_silhouette_samples(z, _groups(y, coarse_of))


@score(better="higher", low=-1.0, high=1.0, per_image=coarse_silhouette_samples)
def coarse_silhouette(z: Tensor, y: Tensor, coarse_of: Tensor) -> Tensor:
    """Mean silhouette of groups: are points nearer to their own group of classes than to the next.

    `silhouette` with the group of each point in place of its class.

    Degenerate: -1 where there is one group; 0 for a point alone in its group, or all in one place.

    Paper: LARESA (ICLR 2026 submission), Table 2; its metric is not stated.
    """
    return coarse_silhouette_samples(z, y, coarse_of).mean()


@score(better="higher", low=-1.0, high=1.0, per_image=coarse_cosine_silhouette_samples, in_blocks=True)
def coarse_silhouette_cosine(z: Tensor, y: Tensor, coarse_of: Tensor) -> Tensor:
    """Mean silhouette of groups by cosine distance.

    `silhouette_cosine` with the group of each point in place of its class.

    Degenerate: as `coarse_silhouette`, and 0 for points of one direction.
    """
    return coarse_cosine_silhouette_samples(z, y, coarse_of).nanmean()


@score(better="higher", low=-1.0, high=1.0, in_blocks=True)
def semantic_spearman(
    z: Tensor, y: Tensor, label_embeddings: Tensor, class_centres: Tensor | None = None
) -> Tensor:
    """Rank correlation of distances between class centres and between class names.

    Spearman's, over classes j < k, of |g[j] - g[k]| and 1 - cos(e[j], e[k]), equal distances sharing
    their mean rank. The centres g as in `hit_rate`; the distances of label embeddings e are rounded to 6
    decimals. Of more than 2,000 classes an even choice of 2,000.

    Degenerate: 0 with fewer than three classes, and where all distances of either kind are equal.

    Paper: LARESA (ICLR 2026 submission), Appendix B; the two distances are not stated there.
    """
    return _correlation(*_distances(label_embeddings, *_class_places(z, y, class_centres)), ranked=True)


@score(better="higher", low=-1.0, high=1.0, in_blocks=True)
def semantic_pearson(
    z: Tensor, y: Tensor, label_embeddings: Tensor, class_centres: Tensor | None = None
) -> Tensor:
    """Linear correlation of distances between class centres and between class names.

    Pearson's, of the distances of `semantic_spearman`.

    Degenerate: 0 with fewer than three classes, and where all distances of either kind are equal.
    """
    return _correlation(*_distances(label_embeddings, *_class_places(z, y, class_centres)), ranked=False)


@score(better="higher", low=-1.0, high=1.0, in_blocks=True)
def coarse_spearman(z: Tensor, y: Tensor, coarse_of: Tensor, coarse_embeddings: Tensor) -> Tensor:
    """Rank correlation of distances between the centres of groups and between their names.

    As `semantic_spearman`, with the mean of the points of each group for the class centres, and
    coarse_embeddings (G, d) for the label embeddings, as in LARESA's Table 3. Points of a class without
    a group are left out.

    Degenerate: 0 with fewer than three groups, and where all distances of either kind are equal.
    """
    return _correlation(*_distances(coarse_embeddings, *_group_places(z, y, coarse_of)), ranked=True)


@score(better="higher", low=-1.0, high=1.0, in_blocks=True)
def coarse_pearson(z: Tensor, y: Tensor, coarse_of: Tensor, coarse_embeddings: Tensor) -> Tensor:
    """Linear correlation of distances between the centres of groups and between their names.

    Pearson's, of the distances of `coarse_spearman`.

    Degenerate: 0 with fewer than three groups, and where all distances of either kind are equal.
    """
    return _correlation(*_distances(coarse_embeddings, *_group_places(z, y, coarse_of)), ranked=False)


@score(better="lower", low=0.0, high=2.0, in_blocks=True)
def severity(logits: Tensor, y: Tensor, label_embeddings: Tensor) -> Tensor:
    """Mean distance in meaning from the true class to the predicted one, over mistakes.

    mean over i with p[i] != y[i] of 1 - cos(e[p[i]], e[y[i]]), p = argmax(logits), e label embeddings.
    How many they are plays no part.

    Degenerate: 0 without a mistake; of logits that are equal the first counts as the largest.
    """
    predicted, y = predicted_classes(logits, y), y[y >= 0]
    wrong = predicted != y
    if not wrong.any():
        return label_embeddings.new_zeros(())
    check_classes(label_embeddings, torch.maximum(predicted, y), "label_embeddings")
    directions = unit(label_embeddings)
    cosines = (directions[predicted[wrong]] * directions[y[wrong]]).sum(1)
    return (1 - cosines.clamp(-1, 1)).mean()


def right_group(logits: Tensor, y: Tensor, coarse_of: Tensor) -> Tensor:
    """1 where the predicted class is of the true group, else 0, (n,); nan where unlabelled or not finite."""
    values = torch.full(y.shape, math.nan, dtype=torch.float64, device=y.device)
    rows, labels = checked_rows(logits, y)
    if all_finite(rows, labels):
        groups = coarse_of.to(labels.device)
        right = _groups(predicted_classes(rows, labels), groups) == _groups(labels[labels >= 0], groups)
        values[y >= 0] = right.to(y.device, torch.float64)
    return values


@score(better="higher", low=0.0, high=1.0, per_image=right_group, in_blocks=True)
def coarse_accuracy(logits: Tensor, y: Tensor, coarse_of: Tensor) -> Tensor:
    """Share of images whose predicted class is of the right group.

    mean over i of [group(argmax(logits[i])) == group(y[i])]; at least the accuracy.

    Degenerate: of logits that are equal the first counts as the largest.
    """
    return right_group(logits, y, coarse_of).nanmean()


def groups_of(coarse_of: Tensor, classes: Tensor) -> Tensor:
    """The group of each of some classes, in the shape of these; a class of none is a group of its own."""
    check_classes(coarse_of, classes, "coarse_of")
    groups = coarse_of.long()
    alone = groups.amax() + 1 + torch.arange(len(groups), device=groups.device)
    return torch.where(groups >= 0, groups, alone)[classes]


def check_classes(per_class: Tensor, classes: Tensor, name: str) -> None:
    """Refuse classes that have no row in what is given per class."""
    highest = int(classes.max()) if len(classes) else -1
    if highest >= len(per_class):
        raise UserError(
            f"{name} has {len(per_class)} rows, but there is a class {highest}; give a row for every class"
        )


def _groups(y: Tensor, coarse_of: Tensor) -> Tensor:
    """The group of each point, (n,); -1 where unlabelled."""
    return torch.where(y >= 0, groups_of(coarse_of, y.clamp_min(0)), -1)


def _class_places(z: Tensor, y: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor]:
    """The classes that have a centre (c,), and their centres (c, d)."""
    if given is None:
        classes, centres, _ = centres_of(z, y)
        return classes, centres
    present = given.isfinite().all(1).nonzero()[:, 0]
    return present, given[present]


def _group_places(z: Tensor, y: Tensor, coarse_of: Tensor) -> tuple[Tensor, Tensor]:
    """The groups that have a point (g,), and the means of their points (g, d)."""
    check_classes(coarse_of, y, "coarse_of")
    group = torch.where(y >= 0, coarse_of.long()[y.clamp_min(0)], -1)
    groups, centres, _ = centres_of(z, group)
    return groups, centres


def _distances(embeddings: Tensor, classes: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pair of classes once: the distance of the centres, and 1 - cos of the embeddings."""
    check_classes(embeddings, classes, "the matrix of embeddings")
    even = evenly(len(classes), LARGEST)
    halved = torch.pdist(unit(embeddings[classes[even]])).square() / 2  # |u - v|^2 / 2 = 1 - cos
    return torch.pdist(centres[even]), halved.round(decimals=DECIMALS)


def _correlation(a: Tensor, b: Tensor, *, ranked: bool) -> Tensor:
    """Spearman's or Pearson's of distances (m,); 0 where either differ by no more than rounding."""
    from scipy.stats import pearsonr, spearmanr

    for distances in (a, b):
        if len(distances) < 2 or distances.amax() - distances.amin() <= SAME * distances.amax():
            return a.new_zeros(())
    found = (spearmanr if ranked else pearsonr)(a.cpu().numpy(), b.cpu().numpy())
    return a.new_tensor(found.statistic).clamp(-1, 1)
