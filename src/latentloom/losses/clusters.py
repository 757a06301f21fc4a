"""Losses that compare points with the centres of groups: Magnet, Latent Boost, center."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from latentloom.checks import check_choice, check_labelled
from latentloom.latent.geometry import masked_logsumexp, masked_mean, root, squared_distances
from latentloom.latent.pairs import Groups, group_means, group_sums, groups
from latentloom.latent.projection import principal
from latentloom.losses._table import term


@term
def magnet(
    z: Tensor,
    y: Tensor,
    cluster: Tensor | None = None,
    *,
    alpha: float = 1.0,
    variant: Literal["original", "paper", "code"] = "original",
) -> Tensor:
    """Put each point nearer to the centre of its own cluster than to those of other classes.

    With mu_g the mean of cluster g in the batch, mu(n) that of row n's own, N the labelled rows and
    s2 = 1/(N - 1) sum_n |z_n - mu(n)|^2, the mean over n of

        max(0, |z_n - mu(n)|^2 / (2 s2) + alpha + log sum_g exp(-|z_n - mu_g|^2 / (2 s2)))

    with g over the clusters of the other classes in the batch.

    Args:
        z: points, (n, d), floating.
        y: classes, (n,), integer; -1 is unlabelled.
        cluster: ids, (n,), different from class to class; each class is one cluster unless given.
        alpha: the gap wanted, in units of the variance.
        variant: original is the hinge of Rippel et al. 2015; paper leaves the hinge out, as Latent
            Boost prints it; code divides by s2 squared, as the public implementations do.

    Returns:
        A scalar, >= 0 with the hinge; 0 when no row has another class to be told from. Invariant to
        the scale of z (original, paper); the mean of the first part is then the constant
        (N - 1) / (2 N), so that the gradient comes from the second part and the hinge.

    Paper: Rippel et al. 2015, arXiv:1511.05939, Eq. 4; Latent Boost, arXiv:2412.08515, Eq. 4.
    """
    check_labelled(z, y)
    check_choice("variant", variant, ("original", "paper", "code"))
    if len(z) == 0:
        return z.sum()
    own = groups(_cluster_or_class(y, cluster))
    centres = group_means(z, own)
    away = (z - centres[own.index]).square().sum(1)
    spread = torch.where(own.labelled, away, 0.0).sum() / (own.labelled.sum() - 1).clamp_min(1)
    spread = _floored(spread, z, own.labelled)
    scale = spread.square() if variant == "code" else spread
    others = _other_classes(y, own)
    repulsion = masked_logsumexp(-squared_distances(z, centres) / (2 * scale), others)
    each = away / (2 * scale) + alpha + repulsion
    return masked_mean(each if variant == "paper" else each.clamp_min(0), others.any(1))


@term
def latent_boost(
    z: Tensor,
    y: Tensor,
    cluster: Tensor | None = None,
    *,
    alpha: float = 2.0,
    beta: float = 1.0,
    variant: Literal["default", "paper"] = "default",
    share: float | None = None,
    variance: Literal["pooled", "class"] | None = None,
    hinge: bool | None = None,
    eps: float | None = None,
    detach_variance: bool = False,
) -> Tensor:
    """Put each point nearer to its own class centre than to the others, in the directions that matter.

    z is projected on the principal directions of the batch that carry `share` of its variance. With
    mu_g the mean of group g, mu(n) that of row n's own and s2_g a variance, the mean over n of

        |z_n - mu(n)|^2 / (2 s2_own) + alpha + log( sum_g exp(-beta |z_n - mu_g|^2 / (2 s2_g)) + eps )

    with g over the groups of the other classes in the batch. The two variants:

        paper     the formula as printed: share = 0.95, s2_g is each group's own, the sum over g of
                  |z_n - mu_g|^2 / (n_g - 1), eps = 1e-8, no hinge
        default   what measurement shows to work (docs/latent-boost.md): the sum is clipped below at 0
                  (the hinge), s2 is pooled, sum_n |z_n - mu(n)|^2 / (N - groups), without projection
                  or eps. It is then Magnet with another normaliser of the variance

    Args:
        z: points, (n, d), floating.
        y: classes, (n,), integer; -1 is unlabelled.
        cluster: ids, (n,), different from class to class; each class is one group unless given.
        alpha: the gap wanted, in units of the variance. Without the hinge it has no gradient and only
            shifts the value; the printed schedule of it is in the recipe latent-boost-paper.
        beta: strength of the repulsion; at 0 there is none.
        variant: as above; `share`, `variance`, `hinge` and `eps` replace parts of it.
        share: of the variance that the projection keeps, in (0, 1]; 1 leaves z as it is.
        variance: pooled over the groups, or each class its own.
        hinge: clip below at 0.
        eps: floor of the repulsion; sets the lower bound alpha + log(eps) without the hinge.
        detach_variance: hold s2 still in the gradient. With s2 live the mean of the first part is a
            constant, and the compaction comes from the second; with s2 still, training can collapse.

    Returns:
        A scalar, >= 0 with the hinge. Rows alone in their group are left out of the mean, though
        their group repels; 0 when no row is left or no row has another class to be told from.

    The projection passes no gradient of its own. Paper: Latent Boost, arXiv:2412.08515, Eq. 6-11.
    """
    check_labelled(z, y)
    check_choice("variant", variant, ("default", "paper"))
    literal = variant == "paper"
    variance = variance or ("class" if literal else "pooled")
    check_choice("variance", variance, ("pooled", "class"))
    if len(z) == 0:
        return z.sum()
    share = (0.95 if literal else 1.0) if share is None else share
    floor = (1e-8 if literal else 0.0) if eps is None else eps
    own = groups(_cluster_or_class(y, cluster))
    points = z if share >= 1 else z @ principal(z, own.labelled, share)
    centres = group_means(points, own)
    away = (points - centres[own.index]).square().sum(1)
    spread = _group_spread(away, own, per_group=variance == "class")
    spread = _floored(spread.detach() if detach_variance else spread, points, own.labelled)
    others = _other_classes(y, own)
    repulsion = masked_logsumexp(-beta * squared_distances(points, centres) / (2 * spread), others)
    if floor > 0:
        repulsion = torch.logaddexp(repulsion, repulsion.new_tensor(floor).log())
    each = away / (2 * spread[own.index]) + alpha + repulsion
    clipped = not literal if hinge is None else hinge
    return masked_mean(each.clamp_min(0) if clipped else each, others.any(1) & (own.size > 1))


@term
def center(z: Tensor, y: Tensor, centres: Tensor | None = None, *, apart: float = 0.0) -> Tensor:
    """Draw each point to the centre of its class, and keep centres a distance apart.

        1/2 mean_n |z_n - c(y_n)|^2  +  mean over pairs of classes of max(0, apart - |c_i - c_j|)^2

    with the pairs over the classes in the batch.

    Args:
        z: points, (n, d), floating.
        y: classes, (n,), integer; -1 is unlabelled.
        centres: one point per class, (C, d), learned by a head; the means of the batch unless given.
        apart: distance kept between centres, in units of z; at 0 the second part is absent.

    Returns:
        A scalar >= 0; 0 without a labelled row.

    Paper: Wen et al. 2016, A Discriminative Feature Learning Approach for Deep Face Recognition,
    Eq. 2, where centres are moved by a rule of their own; here they are learned by gradient, or are
    the means of the batch. The second part is ours.
    """
    check_labelled(z, y)
    if len(z) == 0:
        return z.sum()
    own = groups(y)
    target = group_means(z, own)[own.index] if centres is None else centres[y.clamp_min(0).long()]
    compact = masked_mean((z - target).square().sum(1), own.labelled) / 2
    if apart == 0:
        return compact
    pairs = (own.stands[:, None] & own.stands).triu(1)
    missing = (apart - root(squared_distances(target, target))).clamp_min(0)
    return compact + masked_mean(missing.square(), pairs)


def _cluster_or_class(y: Tensor, cluster: Tensor | None) -> Tensor:
    return y if cluster is None else torch.where(y >= 0, cluster, -1)


def _other_classes(y: Tensor, own: Groups) -> Tensor:
    """(n, n) true where the column stands for a group of another class than the row's."""
    return own.stands & own.labelled[:, None] & (y[:, None] != y)


def _group_spread(away: Tensor, own: Groups, *, per_group: bool) -> Tensor:
    """Variance of the group that each row stands for, (n,); a group of one has the pooled variance."""
    total = torch.where(own.labelled, away, 0.0).sum()
    pooled = total / (own.labelled.sum() - own.stands.sum()).clamp_min(1)
    if not per_group:
        return pooled.expand(len(away))
    return torch.where(own.size > 1, group_sums(away, own) / (own.size - 1).clamp_min(1), pooled)


def _floored(spread: Tensor, points: Tensor, keep: Tensor) -> Tensor:
    """The variance, kept from vanishing against that of the whole batch."""
    still = points.detach()
    mean = torch.where(keep[:, None], still, 0.0).sum(0) / keep.sum().clamp_min(1)
    whole = masked_mean((still - mean).square().sum(1), keep)
    return torch.maximum(spread, 1e-6 * whole + 1e-12)
