"""Losses that turn points towards what the names of their classes mean: LARESA (ICLR 2026 submission).

A label embedding is the vector of a name, given and never learned. Only directions are compared: with
zh = z / |z|, d(a, b) = 1 - cos(a, b), in [0, 2]. A point in the origin is at 1 from every label.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice, check_labelled
from latentloom.latent.geometry import masked_mean, squared_distances, unit
from latentloom.losses._table import term

EPS = 1e-8


@term
def semantic_anchor(
    z: Tensor,
    label_embeddings: Tensor,
    y: Tensor,
    coarse_embeddings: Tensor | None = None,
    coarse_of: Tensor | None = None,
    balance: Tensor | None = None,
    *,
    coarse_weight: float = 0.5,
) -> Tensor:
    """Turn each point towards the name of its class, and towards the name of the group of its class.

    With e_n the label embedding of row n's class and g_n that of its group, the mean over n of

        b d(zh_n, e_n) + b' d(zh_n, g_n),   (b, b') = softmax(balance), or (1 - coarse_weight, coarse_weight)

    A row whose class is in no group, and every row where there are no groups, has b = 1 and b' = 0.

    Args:
        z: points, (n, d), floating.
        label_embeddings: of the names of the classes, (C, d), of any length but 0.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        coarse_embeddings: of the names of the groups, (G, d).
        coarse_of: group of each class, (C,), integer in [0, G), or -1 for none.
        balance: learned logits of class and group, (2,), in place of `coarse_weight`.
        coarse_weight: share of the group, in [0, 1].

    Returns:
        A scalar in [0, 2] up to rounding; 0 without a labelled row, and where every point has the
        direction of both its labels. Where these differ, a row is never below 1 - |b e_n + b' g_n| for
        label embeddings of length 1.

    A learned balance goes to whichever of class and group the points are nearer to.
    Paper: LARESA (ICLR 2026 submission), Eq. 1.
    """
    check_labelled(z, y)
    directions = unit(z)
    fine = _distance_to_own("label_embeddings", directions, label_embeddings, y)
    if coarse_embeddings is None:
        return masked_mean(fine, y >= 0)
    group = _checked_groups(coarse_of, len(label_embeddings))[y.clamp_min(0).long()]  # (n,)
    of_class, of_group = _shares(balance, coarse_weight)
    coarse = _distance_to_own("coarse_embeddings", directions, coarse_embeddings, group)
    each = torch.where(group >= 0, of_class * fine + of_group * coarse, fine)
    return masked_mean(each, y >= 0)


@term
def semantic_triplet(
    z: Tensor,
    label_embeddings: Tensor,
    y: Tensor,
    noise: Tensor | None = None,
    *,
    margin: float = 0.2,
    negatives: Literal["all", "random"] = "all",
    by_distance: bool = False,
) -> Tensor:
    """Turn each point nearer to the name of its class than to other names, by a margin.

    With e_k the label embedding of class k, the mean over n of

        all      mean over k != y_n of  max(0, margin + d(zh_n, e_y) - d(zh_n, e_k))
        random   the same for one k != y_n, drawn by noise_n: the paper

    `all` is what `random` is on average over the noise, in value and gradient.

    Args:
        z: points, (n, d), floating.
        label_embeddings: of the names of the classes, (C, d), of any length but 0.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        noise: uniform in [0, 1), (n,): k is number floor(noise (C - 1)) of the other classes, in their
            order. Read by `random` alone.
        margin: >= 0 and finite, in units of d.
        negatives: as above.
        by_distance: the margin to class k is margin d(e_y, e_k) / (mean of d over all pairs of classes),
            so that names that mean nearly the same may stay near.

    Returns:
        A scalar >= 0, at most margin + 2 unless by_distance; 0 with one class, without a labelled row,
        and where every point is nearer to its own name than to all others by the margin.

    Time O(n C d), memory O(n C). Paper: LARESA (ICLR 2026 submission), Eq. 2.
    """
    check_labelled(z, y)
    _check_embeddings("label_embeddings", label_embeddings, z.shape[1])
    check_choice("negatives", negatives, ("all", "random"))
    if not 0 <= margin < math.inf:  # nan is not
        raise UserError(f"margin must be a finite number >= 0, got {margin}; distances lie in [0, 2]")
    labels, own = unit(label_embeddings.to(z.dtype)), y.clamp_min(0).long()
    cosines = unit(z) @ labels.mT  # (n, C)
    wanted = margin * _relative_distances(labels, own) if by_distance else margin
    missing = (wanted + cosines - cosines.gather(1, own[:, None])).clamp_min(0)
    every = torch.arange(len(labels), device=y.device)
    if negatives == "all":
        counted = every != own[:, None]
    else:
        counted = every == _drawn(noise, own, len(labels))[:, None]
    return masked_mean(missing, counted & (y >= 0)[:, None])  # every row counts as many classes


def _relative_distances(labels: Tensor, own: Tensor) -> Tensor:
    """d of each row's own label to all of them, over the mean of d over pairs of classes: (n, C).

    Of rows of length 1, d is half the squared distance, and its mean the total variance.
    """
    variance = (labels - labels.mean(0)).square().sum() / max(1, len(labels) - 1)
    # The labels come first: the origin goes to their mean, which there is for an empty batch too.
    return squared_distances(labels, labels[own]).mT / (2 * variance.clamp_min(EPS))


def _drawn(noise: Tensor | None, own: Tensor, classes: int) -> Tensor:
    """The class that noise picks among all but the own, (n,); -1 where there is no other."""
    if noise is None or noise.shape != own.shape:
        got = "none" if noise is None else tuple(noise.shape)
        raise UserError(
            f"negatives 'random' takes noise ({len(own)},), a number in [0, 1) per row, got {got}; "
            "a model with the head LabelEmbeddings makes it where it is called with rows, and uniform_noise "
            "anywhere; negatives 'all' needs none"
        )
    number = (noise * (classes - 1)).long().clamp_max(classes - 2)  # noise may be rounded to 1
    return torch.where(number >= own, number + 1, number)


def _distance_to_own(name: str, directions: Tensor, embeddings: Tensor, index: Tensor) -> Tensor:
    """d of each direction to the embedding of its index, (n,); of index 0 where it is -1."""
    _check_embeddings(name, embeddings, directions.shape[1])
    own = embeddings[index.clamp_min(0).long()].to(directions.dtype)
    return 1 - (directions * unit(own)).sum(1)


def _shares(balance: Tensor | None, coarse_weight: float) -> tuple[Tensor | float, Tensor | float]:
    """What class and group count; they add up to 1."""
    if balance is None:
        if not 0 <= coarse_weight <= 1:  # nan is not
            raise UserError(f"coarse_weight must lie in [0, 1], got {coarse_weight}; 0 leaves groups out")
        return 1 - coarse_weight, coarse_weight
    if balance.shape != (2,):
        raise UserError(
            f"balance must be (2,), logits of class and group, got {tuple(balance.shape)}; the head "
            "LabelEmbeddings makes it"
        )
    of_class, of_group = balance.softmax(0)
    return of_class, of_group


def _checked_groups(coarse_of: Tensor | None, classes: int) -> Tensor:
    if coarse_of is None or coarse_of.shape != (classes,) or coarse_of.is_floating_point():
        got = "none" if coarse_of is None else f"{coarse_of.dtype} {tuple(coarse_of.shape)}"
        raise UserError(
            f"coarse_of must be integer ({classes},), the group of each class, got {got}; "
            "it goes with coarse_embeddings, and both may be left out"
        )
    return coarse_of


def _check_embeddings(name: str, embeddings: Tensor, d: int) -> None:
    shape, kind = tuple(embeddings.shape), embeddings.dtype
    if len(shape) != 2 or shape[0] == 0 or shape[1] != d or not kind.is_floating_point:
        raise UserError(
            f"{name} must be floating (rows, {d}), as long as z, got {kind} {shape}; the head "
            "LabelEmbeddings gives them, and z must be projected to their length"
        )
