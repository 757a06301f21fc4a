"""What all points of a batch should be together: in the middle, spread evenly, along axes that differ.

None of them reads a label: every row counts, labelled or not.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from latentloom.checks import check_choice, check_points
from latentloom.losses._table import term

Reduction = Literal["sum", "mean"]
EPS = 1e-5  # added to a variance, so that its root has a slope where all points are equal


@term
def centering(z: Tensor, *, reduction: Reduction = "sum") -> Tensor:
    """Bring the mean of the batch to the origin.

    With m the mean over n of z_n, the sum (or mean) over the dimensions i of

        m_i^2

    Args:
        z: points, (n, d), floating.
        reduction: sum over the dimensions as in the paper, |m|^2, or their mean, which does not grow
            with d.

    Returns:
        A scalar >= 0; 0 for an empty batch.

    Paper: LARESA (ICLR 2026 submission), L_center.
    """
    check_points(z)
    return _over_dimensions((z.sum(0) / max(1, len(z))).square(), reduction)


@term
def unit_variance(z: Tensor, *, reduction: Reduction = "sum") -> Tensor:
    """Spread the batch by 1 in each dimension.

    With s_i = sqrt(mean over n of (z_ni - m_i)^2 + 1e-5), m the mean, the sum (or mean) over i of

        (s_i - 1)^2

    Args:
        z: points, (n, d), floating.
        reduction: sum over the dimensions as in the paper, or their mean, which does not grow with d.

    Returns:
        A scalar >= 0, nearly d (or 1) where all points are equal; 0 for fewer than two rows, which have
        no spread. Points that are equal have no gradient to part by.

    Paper: LARESA (ICLR 2026 submission), L_var.
    """
    check_points(z)
    if len(z) < 2:
        return z[:0].sum()
    return _over_dimensions((_deviations(z - z.mean(0)) - 1).square(), reduction)


@term
def decorrelation(z: Tensor) -> Tensor:
    """Make the dimensions of the batch uncorrelated, so that none repeats others.

    With r_ij the correlation of dimensions i and j over the batch, the mean over the pairs i < j of

        r_ij^2,  r_ij = mean over n of (z_ni - m_i) (z_nj - m_j) / (s_i s_j)

    with m and s as in `unit_variance`: a dimension that hardly varies, by less than 3e-3, counts little.

    Args:
        z: points, (n, d), floating.

    Returns:
        A scalar in [0, 1]; 0 in one dimension or for fewer than two rows. Dimensions that are independent
        give 1 / (n - 1) on average, so that little is to be gained below that.

    The second part of Barlow Twins (Zbontar et al. 2021, arXiv:2103.03230, Eq. 1) for one view instead of
    two, and a mean instead of a sum. VICReg (Bardes et al. 2022, arXiv:2105.04906, Eq. 4) has covariances
    there, which points may make small by being small; correlations do not see how long points are.
    Time O(n d^2), memory O(d^2).
    """
    check_points(z)
    n, d = z.shape
    if n < 2:
        return z[:0].sum()
    away = z - z.mean(0)
    scaled = away / _deviations(away)
    above = (scaled.mT @ scaled / n).triu(1)
    return above.square().sum() / max(1, d * (d - 1) // 2)


def _deviations(away: Tensor) -> Tensor:
    """Standard deviation of each dimension, (d,), of points about their mean; never 0."""
    return (away.square().mean(0) + EPS).sqrt()


def _over_dimensions(each: Tensor, reduction: Reduction) -> Tensor:
    check_choice("reduction", reduction, ("sum", "mean"))
    return each.sum() if reduction == "sum" else each.mean()
