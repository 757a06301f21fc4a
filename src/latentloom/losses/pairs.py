"""Losses that compare points with points: contrastive, triplet, N-pair, supervised contrastive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from latentloom.checks import UserError, check_choice, check_labelled
from latentloom.latent.geometry import masked_logsumexp, masked_mean, root, squared_distances, unit
from latentloom.latent.pairs import negative_pairs, positive_pairs, same_class
from latentloom.latent.pullback import pullback_distances
from latentloom.losses._table import term

Variant = Literal["paper", "pml"]
VARIANTS = ("paper", "pml")


@term
def contrastive(
    z: Tensor, y: Tensor, *, margin: float = 1.0, power: float = 2, variant: Variant = "paper"
) -> Tensor:
    """Pull together what is of one class, push the rest apart up to a margin.

    With d the Euclidean distance of a pair and s = 1 for one class, 0 for two:

        paper   1/(2P) sum over the P unordered pairs of  s d^power + (1 - s) max(0, margin - d)^power
        pml     mean of d over pairs of one class + mean of max(0, margin - d) over pairs of two,
                each over its non-zero entries, z scaled to length 1; `power` is not used

    Args:
        z: points, (n, d), floating.
        y: classes, (n,), integer; -1 is unlabelled.
        margin: in units of z (paper) or of the unit sphere (pml).
        power: 2 as in Hadsell et al. 2006; 1 is the form of Safir 2022.
        variant: as above; pml is what pytorch-metric-learning computes by default.

    Returns:
        A scalar >= 0; 0 without a pair.

    Paper: Latent Boost, arXiv:2412.08515, Eq. 1, there with margin 1 and power 2.
    """
    check_labelled(z, y)
    check_choice("variant", variant, VARIANTS)
    if len(z) == 0:
        return z.sum()
    distance = root(squared_distances(*[unit(z) if variant == "pml" else z] * 2))
    positive, negative = positive_pairs(y), negative_pairs(y)
    gap = (margin - distance).clamp_min(0)
    if variant == "pml":
        return masked_mean(distance, positive & (distance != 0)) + masked_mean(gap, negative & (gap != 0))
    return masked_mean(torch.where(positive, distance**power, gap**power), positive | negative) / 2


@term
def triplet(
    z: Tensor,
    y: Tensor,
    pullback: Tensor | None = None,
    *,
    margin: float = 0.05,
    variant: Variant = "paper",
    over: Literal["all", "nonzero"] | None = None,
    distance: Literal["euclidean", "pullback"] = "euclidean",
) -> Tensor:
    """Keep each point nearer to its own class than to any other, by a margin; all triplets, exactly.

    Over all i, j, k with y[i] == y[j], i != j and y[i] != y[k], the mean of

        max(0, |z[i] - z[j]| - |z[i] - z[k]| + margin)

    in O(n^2 log n) time and O(n^2) memory: the sum is linear in the distances, and how often each of
    them counts is found by sorting. With distance pullback, |a - b| is `pullback_distances`: how far the
    decoded images lie apart, to first order.

    Args:
        z: points, (n, d), floating.
        y: classes, (n,), integer; -1 is unlabelled.
        pullback: metric of the decoder at each point, (n, d, d), which distance pullback is taken by.
        margin: in units of z (paper), of the unit sphere (pml), or of the decoder's output (pullback).
        variant: paper takes z as it is; pml scales it to length 1, as pytorch-metric-learning does.
        over: mean over all triplets (default of paper) or over those that are not 0 (default of pml).
        distance: as above; pullback is of points as they are (variant paper).

    Returns:
        A scalar >= 0; 0 without a triplet.

    Paper: Latent Boost, arXiv:2412.08515, Eq. 2, there with margin 0.05.
    """
    check_labelled(z, y)
    check_choice("variant", variant, VARIANTS)
    over = over or ("all" if variant == "paper" else "nonzero")
    check_choice("choice of triplets", over, ("all", "nonzero"))
    if len(z) == 0:
        return z.sum()
    apart = _distances(z, pullback, variant, distance)
    positive, negative = positive_pairs(y), negative_pairs(y)
    times = _times_counted(apart.detach(), positive, negative, margin)
    violated = times.clamp_min(0).sum()
    total = (times * apart).sum() + margin * violated
    every = (positive.sum(1, dtype=z.dtype) * negative.sum(1)).sum()
    return total / (every if over == "all" else violated).clamp_min(1)


def _distances(z: Tensor, pullback: Tensor | None, variant: Variant, distance: str) -> Tensor:
    """Distances between all points, (n, n)."""
    check_choice("distance", distance, ("euclidean", "pullback"))
    if distance == "euclidean":
        points = unit(z) if variant == "pml" else z
        return root(squared_distances(points, points))
    if variant == "pml":
        raise UserError("a pull-back distance is of points as they are, got variant 'pml'; take 'paper'")
    if pullback is None:
        raise UserError(
            "a pull-back distance wants the decoder's metric at each point, and the latent has none; "
            "set --model.pullback true"
        )
    return pullback_distances(z, pullback)


@torch.no_grad()
def _times_counted(distance: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """How often each distance counts in the sum over violated triplets, (n, n), in distance's type.

    An (anchor, positive) counts once for each negative nearer than distance + margin, an (anchor, negative)
    minus once for each positive whose distance + margin exceeds its own.
    """
    # A column is a positive or a negative of its row, never both: one sort puts both in their places.
    edge = torch.where(positive, distance + margin, torch.where(negative, distance, torch.inf))
    edge, order = edge.sort(1)
    pull, push = positive.gather(1, order), negative.gather(1, order)
    pulls, pushes = (pad(kind.cumsum(1, dtype=torch.int32), (1, 0)) for kind in (pull, push))  # (n, n + 1)
    # Equal edges are triplets of exactly 0: neither sees the other.
    nearer = pushes.gather(1, torch.searchsorted(edge, edge))
    farther = pulls[:, -1:] - pulls.gather(1, torch.searchsorted(edge, edge, right=True))
    times = torch.where(pull, nearer, torch.where(push, -farther, 0))
    return torch.zeros_like(distance).scatter_(1, order, times.to(distance.dtype))


@term
def n_pair(z: Tensor, y: Tensor, *, variant: Variant = "paper") -> Tensor:
    """Tell one positive of each class from the positives of all other classes in the batch.

    The anchor a_i of a class is its first row in the batch, the positive p_i its second. Over the M
    classes with at least two rows,

        1/M sum_i log(1 + sum_{j != i} exp(a_i . p_j - a_i . p_i))

    Args:
        z: points, (n, d), floating.
        y: classes, (n,), integer; -1 is unlabelled.
        variant: paper takes z as it is (Sohn 2016 without the penalty on its norm); pml scales it to
            length 1, as pytorch-metric-learning does, which chooses the same pairs.

    Returns:
        A scalar >= 0; 0 with fewer than two such classes.

    Paper: Latent Boost, arXiv:2412.08515, Eq. 3, whose negative index is a slip: each j has its own.
    """
    check_labelled(z, y)
    check_choice("variant", variant, VARIANTS)
    if len(z) < 2:
        return z.sum() * 0
    anchor, positive, real = _pair_per_class(y)
    anchors, positives = z[anchor], z[positive]
    if variant == "pml":
        anchors, positives = unit(anchors), unit(positives)
    logits = anchors @ positives.mT  # (m, m)
    each = masked_logsumexp(logits, real.expand(len(real), -1)) - logits.diagonal()
    return masked_mean(each, real & (real.sum() > 1))


@torch.no_grad()
def _pair_per_class(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First and second row of each class that has two, and which of these n // 2 places are real."""
    same = same_class(y)
    before = same.tril(-1).sum(1)
    is_anchor = (before == 0) & (same.sum(1) > 1)
    # A class with a pair takes two rows of the batch, so the anchors are among the first n // 2.
    anchor = is_anchor.to(torch.uint8).argsort(descending=True, stable=True)[: len(y) // 2]
    if not torch.compiler.is_compiling():
        anchor = anchor[: int(is_anchor.sum())]
    second = same[anchor] & (before == 1)
    return anchor, second.int().argmax(1), is_anchor[anchor]


@term
def supcon(
    z: Tensor, y: Tensor, *, temperature: float = 0.1, variant: Literal["out", "in"] = "out"
) -> Tensor:
    """Tell the rows of an anchor's class from all other rows of the batch, by cosines.

    With u the points scaled to length 1, A_i the labelled rows but i, P_i those of i's class, and
    p_ij = exp(u_i . u_j / temperature) / sum_{a in A_i} exp(u_i . u_a / temperature), the mean over the
    anchors i that have a positive (|P_i| > 0) of

        out   -mean_{j in P_i} log p_ij
        in    -log mean_{j in P_i} p_ij

    Args:
        z: points, (n, d), floating; two views of an image are two rows.
        y: classes, (n,), integer; -1 is unlabelled.
        temperature: > 0.
        variant: as above. `in` is at most `out`, and lets one near positive stand for all.

    Returns:
        A scalar >= 0; 0 without a positive pair. Each anchor counts log |P_i| at least, with either
        variant: with one class `in` is that, and `out` where each row is equally near to all others.

    Paper: Khosla et al. 2020, arXiv:2004.11362, Eq. 2 (out) and 3 (in), there summed over the anchors.
    """
    check_labelled(z, y)
    check_choice("variant", variant, ("out", "in"))
    if not temperature > 0:
        raise UserError(f"temperature must be > 0, got {temperature}; 0.1 is usual")
    if len(z) == 0:
        return z.sum()
    points = unit(z)
    logits = points @ points.mT / temperature  # (n, n)
    positive = positive_pairs(y)
    count = positive.sum(1, dtype=z.dtype).clamp_min(1)
    if variant == "in":
        near = masked_logsumexp(logits, positive) - count.log()
    else:
        near = torch.where(positive, logits, 0.0).sum(1) / count
    each = masked_logsumexp(logits, positive | negative_pairs(y)) - near
    return masked_mean(each, positive.any(1))
