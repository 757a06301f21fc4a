"""Losses that draw points to class embeddings, one learned point per class: Moving Targets (2023)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.utils.checkpoint import checkpoint

from latentloom.checks import UserError, check_choice, check_labelled
from latentloom.latent.geometry import masked_mean, root, squared_distances
from latentloom.losses._table import term

Reduction = Literal["mean", "sum"]
Variant = Literal["default", "paper", "code"]
VARIANTS = ("default", "paper", "code")
EPS = 1e-8
BLOCK = 2**22  # pairs of a point and a class held at a time: 16 MB in float32


@term
def euclidean_target(
    z: Tensor, class_embeddings: Tensor, y: Tensor, *, reduction: Reduction = "mean"
) -> Tensor:
    """Draw each point to the embedding of its class, and the embedding to its points.

    With c_n the embedding of row n's class, the mean (or sum) over n of

        |z_n - c_n|^2

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        reduction: mean over the labelled rows, or their sum as in the paper.

    Returns:
        A scalar >= 0; 0 without a labelled row. All points and all embeddings in one place is a
        minimum too: only where they start, and when training stops, keep the classes apart.

    Paper: Moving Targets (2023), Eq. 1.
    """
    own = own_embedding(z, class_embeddings, y)
    return _reduced((z - own).square().sum(1), y, reduction)


@term
def cosine_target(z: Tensor, class_embeddings: Tensor, y: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Turn each point towards the embedding of its class, and the embedding towards its points.

    With c_n the embedding of row n's class, the mean (or sum) over n of

        1 - cos(z_n, c_n)

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        reduction: mean over the labelled rows, or their sum as in the paper.

    Returns:
        A scalar, each row in [0, 2] up to rounding; 0 without a labelled row. Lengths are taken as
        1e-8 at least, so that a point in the origin counts 1.

    Paper: Moving Targets (2023), Eq. 2 and 3.
    """
    own = own_embedding(z, class_embeddings, y)
    return _reduced(1 - cosine_similarity(z, own, eps=EPS), y, reduction)


@term
def class_proximity(
    z: Tensor,
    class_embeddings: Tensor,
    y: Tensor,
    *,
    r: float = 1e2,
    variant: Variant = "default",
    reduction: Reduction | None = None,
) -> Tensor:
    """Draw points to the embedding of their class, and push the embeddings of other classes away from it.

    With c_n the embedding of row n's class and D_nk = |c_n - c_k|, over the labelled rows n

        default   mean of  |z_n - c_n|^2 + r sum_{k != y_n} 1 / (D_nk + 1)
        code      sum of the same: what was run for the published figures
        paper     sum of  |z_n - c_n|^2 + r sum_{k != y_n} 1 / (D_nk^2 + 1e-8), as printed

    The default keeps the distance plain: a pair of embeddings then costs r at most and is pushed with
    r at most. Printed, a pair that meets costs 1e8 r and is pushed with up to 6.5e11 r, and one at the
    distance of a start at N(0, 1) is pushed D/2 times less, 24 times for d = 1300. Published r, 1e3 to
    1e6 for d of 200 to 2000, are those of the plain distance.

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        r: strength of the push, >= 0. At N(0, 1) it balances the pull at about 3 d^1.5 / (C - 1).
        variant: as above; `reduction` replaces a part of it.
        reduction: mean or sum over the labelled rows.

    Returns:
        A scalar >= 0; 0 without a labelled row. With one class there is nothing to push. The minimum
        is never reached: embeddings go apart for ever, the slower the farther.

    Time O(min(n, C) C d), memory O((n + C) d) and a bounded block of pairs.
    Paper: Moving Targets (2023), Eq. 4 and 5.
    """
    own = own_embedding(z, class_embeddings, y)
    check_choice("variant", variant, VARIANTS)
    _check_not_negative("r", r)
    label = y.clamp_min(0).long()
    form = _inverse_square if variant == "paper" else _inverse
    if len(y) < len(class_embeddings):
        crowding = _over_rivals(own, label, class_embeddings, form)
    else:  # C x C once, then a value for each row
        every = torch.arange(len(class_embeddings), device=y.device)
        crowding = _over_rivals(class_embeddings, every, class_embeddings, form)[label]
    each = (z - own).square().sum(1) + r * crowding
    return _reduced(each, y, reduction or ("mean" if variant == "default" else "sum"))


@term
def push_pull(
    z: Tensor,
    class_embeddings: Tensor,
    y: Tensor,
    *,
    r: float = 0.95,
    margin: float = 1.0,
    variant: Variant = "default",
    reduction: Reduction | None = None,
) -> Tensor:
    """Draw points to the embedding of their class, and push them away from the mean of all embeddings.

    With c_n the embedding of row n's class and m the mean of all C, over the labelled rows n

        default   mean of  |z_n - c_n|^2 + r max(0, d margin^2 - |z_n - m|^2)
        paper     sum of  |z_n - c_n|^2 - r |z_n - m|^2, as printed
        code      mean of the same divided by d, which was run for the published figures

    As printed it has no minimum: where z_n = m + (c_n - m) / (1 - r) it is -r/(1 - r) |c_n - m|^2,
    which falls without end as the embeddings go outward, and r >= 1 needs not even that. The default
    differs from it by a constant alone while |z_n - m| < margin sqrt(d); beyond, the push stops. Both
    of its parts are >= 0, so that it is; and it is 0 where every point lies on its embedding and
    those are so far from m. Not all of them can be in one place there, since m is their mean.

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        r: strength of the push, >= 0.
        margin: distance from m at which the push stops, >= 0, as the root mean square over the
            coordinates: embeddings that start at N(0, 1) are near 1. Read by the default alone.
        variant: as above; `reduction` replaces a part of it.
        reduction: mean or sum over the labelled rows.

    Returns:
        A scalar, >= 0 in the default and without a bound in the others; 0 without a labelled row. m
        passes its gradient on to all embeddings.

    Paper: Moving Targets (2023), Eq. 6 and 7. The margin is ours.
    """
    own = own_embedding(z, class_embeddings, y)
    check_choice("variant", variant, VARIANTS)
    _check_not_negative("r", r)
    _check_not_negative("margin", margin)
    dims = z.shape[1]
    near = (z - own).square().sum(1)
    far = (z - class_embeddings.mean(0)).square().sum(1)
    if variant == "default":
        each = near + r * (dims * margin**2 - far).clamp_min(0)
    else:
        each = (near - r * far) / (dims if variant == "code" else 1)
    return _reduced(each, y, reduction or ("sum" if variant == "paper" else "mean"))


@term
def comparison(z: Tensor, class_embeddings: Tensor, y: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """Put each point nearer to the embedding of its class than to every other, in proportion.

    With c_n the embedding of row n's class, the mean (or sum) over n of

        sum_{k != y_n} |z_n - c_n|^2 / (|z_n - c_n|^2 + |z_n - c_k|^2 + 1e-8)

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        reduction: mean over the labelled rows, or their sum as in the paper.

    Returns:
        A scalar, each row in [0, C - 1): (C - 1) / 2 where nothing is told apart, 0 on the own
        embedding, also where others lie there too. 0 with one class or without a labelled row.

    Time O(n C d), memory O((n + C) d) and a bounded block of pairs.
    Paper: Moving Targets (2023), Eq. 8, there without the 1e-8.
    """
    own = own_embedding(z, class_embeddings, y)
    near = (z - own).square().sum(1)
    each = _over_rivals(z, y.clamp_min(0).long(), class_embeddings, lambda far: near / (near + far + EPS))
    return _reduced(each, y, reduction)


def own_embedding(z: Tensor, class_embeddings: Tensor, y: Tensor) -> Tensor:
    """The embedding of each row's class, (n, d); of class 0 where unlabelled, which `_reduced` leaves out."""
    check_labelled(z, y)
    shape, kind, d = tuple(class_embeddings.shape), class_embeddings.dtype, z.shape[1]
    if len(shape) != 2 or shape[0] == 0 or shape[1] != d or not kind.is_floating_point:
        raise UserError(
            f"class_embeddings must be floating (C, {d}), a row per class, got {kind} {shape}; "
            "the head ClassEmbeddings makes them, and they come between z and y"
        )
    return class_embeddings[y.clamp_min(0).long()]


def _check_not_negative(name: str, value: float) -> None:
    if not 0 <= value < math.inf:  # nan is not
        raise UserError(f"{name} must be a finite number >= 0, got {value}; 0 leaves the push out")


def _reduced(each: Tensor, y: Tensor, reduction: Reduction) -> Tensor:
    """Mean or sum over the labelled rows; 0, still attached to the graph, when there is none."""
    check_choice("reduction", reduction, ("mean", "sum"))
    if reduction == "mean":
        return masked_mean(each, y >= 0)
    return torch.where(y >= 0, each, 0.0).sum()


def _inverse(squared: Tensor) -> Tensor:
    return 1 / (root(squared) + 1)


def _inverse_square(squared: Tensor) -> Tensor:
    return 1 / (squared + EPS)


def _over_rivals(
    points: Tensor, own: Tensor, class_embeddings: Tensor, of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Sum of of(|p - c_k|^2) over all classes k but the point's own, (n,).

    Beyond BLOCK pairs it goes over blocks of classes, whose pairs are computed again in the backward
    pass instead of kept.
    """

    def over(block: Tensor, first: int) -> Tensor:
        # The embeddings come first: the origin goes to their mean, which there is for an empty batch too.
        squared = squared_distances(block, points)  # (block, n)
        rival = torch.arange(first, first + len(block), device=own.device)[:, None] != own
        return torch.where(rival, of(squared), 0.0).sum(0)

    width = max(1, BLOCK // max(1, len(points)))
    if len(class_embeddings) <= width:
        return over(class_embeddings, 0)
    blocks = enumerate(torch.split(class_embeddings, width))
    return torch.stack([_recomputed(over, block, i * width) for i, block in blocks]).sum(0)


def _recomputed(of: Callable[..., Tensor], *inputs: Tensor | int) -> Tensor:
    return checkpoint(of, *inputs, use_reentrant=False, preserve_rng_state=False)
