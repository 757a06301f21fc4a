"""Softmax losses of the angles between points and class embeddings: CosFace, ArcFace, SphereFace, AdaCos.

The rows of the weight matrix in the papers are the class embeddings. Lengths are left out everywhere
but in `sphereface`; a point or an embedding in the origin is at a right angle to all others.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from latentloom.checks import UserError, check_choice
from latentloom.latent.geometry import masked_logsumexp, root, unit
from latentloom.losses._table import term
from latentloom.losses.classification import cross_entropy
from latentloom.losses.targets import own_embedding


@term
def cosface(
    z: Tensor, class_embeddings: Tensor, y: Tensor, *, margin: float = 0.35, scale: float = 30.0
) -> Tensor:
    """Tell the class of each point by cosines, that of its own class made smaller by a margin.

    With cos_nk the cosine of z_n and the embedding of class k, the mean over the labelled rows n of

        -log softmax_k(scale (cos_nk - margin [k = y_n]))[y_n]

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        margin: >= 0, in units of the cosine.
        scale: of the logits, > 0; 64 in the paper, for 10,000 classes and more.

    Returns:
        A scalar >= 0; 0 with one class or without a labelled row.

    Paper: Wang et al. 2018, CosFace, arXiv:1801.09414, Eq. 4.
    """
    own = _own_angle(z, class_embeddings, y)
    _check_scale(scale)
    _check_margin(margin, 0.0, math.inf, "it is taken from the cosine, and 0 leaves it out")
    return _cross_entropy_with_own(z, class_embeddings, y, own.cos() - margin, scale)


@term
def arcface(
    z: Tensor, class_embeddings: Tensor, y: Tensor, *, margin: float = 0.5, scale: float = 30.0
) -> Tensor:
    """Tell the class of each point by cosines, with its angle to its own class made wider by a margin.

    With theta_nk the angle between z_n and the embedding of class k, the mean over the labelled rows n of

        -log softmax_k(scale a_nk)[y_n],  where a_nk = cos(theta_nk) for k != y_n, and for k = y_n
             cos(theta_nk + margin)                 where theta_nk <= pi - margin
             cos(theta_nk) - margin sin(margin)     beyond, where the first would rise again

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        margin: in [0, pi/2], in radians; 0.5 is 28.6 degrees.
        scale: of the logits, > 0; 64 in the paper, for 10,000 classes and more.

    Returns:
        A scalar >= 0; 0 with one class or without a labelled row. Where the second form takes over,
        a falls at once by cos(margin) + margin sin(margin) - 1, 0.117 for 0.5.

    The gradient is that of the formula, and finite at the angles 0 and pi too: the angle has a kink
    there, and its gradient is taken as 0. Paper: Deng et al. 2019, ArcFace, arXiv:1801.07698, Eq. 3,
    without the second form, which implementations add.
    """
    own = _own_angle(z, class_embeddings, y)
    _check_scale(scale)
    _check_margin(margin, 0.0, math.pi / 2, "it is in radians: 28.6 degrees are 0.5")
    beyond = own.cos() - margin * math.sin(margin)
    target = torch.where(own <= math.pi - margin, (own + margin).cos(), beyond)
    return _cross_entropy_with_own(z, class_embeddings, y, target, scale)


@term
def sphereface(
    z: Tensor, class_embeddings: Tensor, y: Tensor, *, margin: float = 4.0, scale: float = 1.0
) -> Tensor:
    """Tell the class of each point by cosines, with its angle to its own class multiplied by a margin.

    With theta_nk the angle between z_n and the embedding of class k, the mean over the labelled rows n of

        -log softmax_k(scale |z_n| a_nk)[y_n],  where a_nk = cos(theta_nk) for k != y_n, and for k = y_n
             psi(theta) = (-1)^j cos(margin theta) - 2 j,  j = floor(margin theta / pi)

    psi is cos(margin theta) continued so that it falls on all of [0, pi], from 1 to 1 - 2 margin for a
    whole margin. It is continuous for any other too, so that a schedule may raise the margin from 1,
    where the loss is a softmax of normalised weights without bias.

    Args:
        z: points, (n, d), floating; their lengths count.
        class_embeddings: one point per class, (C, d), learned by a head; their lengths do not.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        margin: factor of the angle, >= 1 and finite.
        scale: factor of the length of the points, > 0.

    Returns:
        A scalar >= 0; 0 with one class or without a labelled row. A point in the origin counts log C.

    Paper: Liu et al. 2017, SphereFace, arXiv:1704.08063, Eq. 7. There the margin is whole, and what
    makes the start easy is a share of cos(theta) mixed with psi that falls during training.
    """
    own = _own_angle(z, class_embeddings, y)
    _check_scale(scale)
    _check_margin(margin, 1.0, math.inf, "it multiplies the angle, and 1 leaves it out")
    turns = (margin * own / math.pi).floor()
    psi = (1 - 2 * (turns % 2)) * (margin * own).cos() - 2 * turns
    length = root(z.square().sum(1))
    return _cross_entropy_with_own(z, class_embeddings, y, psi, scale * length[:, None])


@term
def adacos(
    z: Tensor,
    class_embeddings: Tensor,
    y: Tensor,
    *,
    scale: float | None = None,
    variant: Literal["dynamic", "fixed"] = "dynamic",
) -> Tensor:
    """Tell the class of each point by cosines, multiplied by a scale that needs no tuning.

    With cos_nk the cosine of z_n and the embedding of class k, the mean over the labelled rows n of

        -log softmax_k(s cos_nk)[y_n]

        fixed     s = s0 = sqrt(2) log(max(C - 1, 2))
        dynamic   s = log(max(B, 2)) / cos(min(pi/4, median over n of the angle of z_n to its class)),
                  B = mean over n of  sum_{k != y_n} exp(s0 cos_nk)

    Printed, s0 in B is the s of the batch before. A term has no state, so here every batch starts at
    s0 again: the two agree where B hardly depends on s0, that is where the cosines to other classes
    are near 0. Of two middle angles the lower is the median. Both times 2 is the least count of rivals:
    two classes would have s0 = 0, at which nothing is learned, and classes that point away from each
    other a negative s.

    Args:
        z: points, (n, d), floating.
        class_embeddings: one point per class, (C, d), learned by a head.
        y: classes, (n,), integer in [0, C), or -1 for unlabelled.
        scale: s0, > 0, instead of that of the formula; for the s of the batch before, where it is known.
        variant: as above.

    Returns:
        A scalar >= 0; 0 with one class or without a labelled row. No gradient passes through s.

    Paper: Zhang et al. 2019, AdaCos, arXiv:1905.00292, sections 4.1 (fixed) and 4.2 (dynamic).
    """
    own = _own_angle(z, class_embeddings, y)
    check_choice("variant", variant, ("dynamic", "fixed"))
    start = math.sqrt(2) * math.log(max(len(class_embeddings) - 1, 2)) if scale is None else scale
    _check_scale(start)
    cosines = _cosines(z, class_embeddings)
    s = start if variant == "fixed" else _adapted_scale(start, cosines.detach(), own.detach(), y)
    return cross_entropy(s * cosines, y)


def _adapted_scale(start: float, cosines: Tensor, own: Tensor, y: Tensor) -> Tensor:
    """The dynamic scale of `adacos`, a scalar, of cosines (n, C) and the angles to the own class (n,)."""
    rival = ~_is_own(y, cosines) & (y >= 0)[:, None]
    total = masked_logsumexp((start * cosines).reshape(1, -1), rival.reshape(1, -1)).squeeze()
    log_b = total - (y >= 0).sum(dtype=total.dtype).clamp_min(1).log()
    median = torch.where(y >= 0, own, torch.nan).nanmedian().nan_to_num(math.pi / 4)  # nan: no row
    return log_b.clamp_min(math.log(2)) / median.clamp_max(math.pi / 4).cos()


def _own_angle(z: Tensor, class_embeddings: Tensor, y: Tensor) -> Tensor:
    """Angle of each point to the embedding of its class, (n,), in [0, pi]; with a bounded slope everywhere.

    Of sum and difference, not of the cosine: arccos has an infinite slope at both ends, and in float32
    sees no angle below 3e-4.
    """
    a, b = unit(z), unit(own_embedding(z, class_embeddings, y))
    return 2 * torch.atan2(root((a - b).square().sum(1)), root((a + b).square().sum(1)))


def _cosines(z: Tensor, class_embeddings: Tensor) -> Tensor:
    return unit(z) @ unit(class_embeddings).mT  # (n, C)


def _is_own(y: Tensor, logits: Tensor) -> Tensor:
    return y[:, None] == torch.arange(logits.shape[1], device=y.device)  # (n, C)


def _cross_entropy_with_own(
    z: Tensor, class_embeddings: Tensor, y: Tensor, own: Tensor, scale: float | Tensor
) -> Tensor:
    """Cross-entropy of scale times the cosines, with `own` (n,) in the place of each row's own class."""
    cosines = _cosines(z, class_embeddings)
    return cross_entropy(scale * torch.where(_is_own(y, cosines), own[:, None], cosines), y)


def _check_scale(scale: float) -> None:
    if not 0 < scale < math.inf:  # nan is not
        raise UserError(f"scale must be a finite number > 0, got {scale}; it multiplies the logits")


def _check_margin(margin: float, low: float, high: float, advice: str) -> None:
    if not (low <= margin <= high and margin < math.inf):
        upper = "finite" if high == math.inf else f"<= {high:.4g}"
        raise UserError(f"margin must be >= {low:g} and {upper}, got {margin}; {advice}")
